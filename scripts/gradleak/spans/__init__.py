"""The linear algebra behind span inversion: what one dense layer's gradient says of each image on its own.

For a dense layer with input features f_n and back-propagated signals δ_n the update's gradient is
M = (1/N) Σ_n f_n δ_nᵀ. While N stays below the layer's width, every member's f_n lies in the column space of M and its
δ_n in the row space. ``host`` cuts a classifier open at such a layer, ``choice`` says at which, ``subspace`` holds M with its
noise, ``certificates`` judges a candidate image, ``search`` looks for images whose features enter the span. None of them knows any truth.
"""
