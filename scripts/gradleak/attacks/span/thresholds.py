"""Every numeric constant of span inversion. Modules read them as ``thresholds.NAME`` while they run, so that
a benchmark can patch them.

The comment of a constant says what it means, with its unit, and where it comes from: *derived* from the noise
model or from the number format, *published*, *a bound* on time or memory, or *set by hand*, which means that
the value was found by trial.
``Identical`` are the factors between which no comparison with the constant changes, so that all arrays are
the same, on clients that are in no table (2026-11-29); of cosines and others near 1 the values:

    python tests/benchmarks/bench_thresholds.py --margins

A constant without ``Identical`` was not varied. The same bench without --margins counts members and false
positives at other factors.
"""

# --- number formats ---

# Least denominator of a ratio of squares. Derived: no square of a float64 number that matters is smaller.
TINY = 1e-300
# Least length of a float32 feature vector that is divided by. Derived: near the least normal float32 number.
TINY_LENGTH = 1e-30

# Error of a gradient computed in float64, in units of its epsilon times the gradient's norm. Set by hand:
# sums over a batch of a hundred add up a few roundings.
DOUBLE_EPSILONS = 10.0

# --- subspace ---

# A singular value of M counts towards the rank if it is so many times the spectral norm of the noise.
# Derived: by Weyl's inequality noise moves a singular value by at most once its norm; set by hand beyond
# that. Identical: 0.913 to 1.22 (digits 20); 0.888 to 1.12 (n32 20).
RANK_MARGIN = 3.0

# Least part of a unit vector outside the span of others that makes it independent of them. Derived: one unit
# of a few hundred, whose activation alone differs.
INDEPENDENT = 0.02

# --- dense layer, and which layer is searched ---

# Share of the squared feature of a mean of two images that must differ from the mean of their features, for
# the features to count as nonlinear. Derived: far above the rounding of float32, about 1e-14. Identical: 0 to
# 8240 (digits 20); 0 to 45300 (n32 20).
NONLINEAR_SHARE = 1e-6
# Public images on which the kind of a layer is determined. Set by hand.
LAYER_IMAGES = 64
# Least median PSNR, in dB, at which public images come back from their features. Set by hand: the level of
# the tables. Identical: 0 to 5 (digits 20); 0 to 4.3 (n32 20).
RECALL_PSNR = 20.0
# Least share of zeros among the features of a layer that is linear in the image. Set by hand.
LAYER_ZEROS = 0.1
# Public images that are recalled; starts for each; Adam steps for each. Set by hand, for a result within a
# second or two.
RECALL_IMAGES = 16
RECALL_STARTS = 4
RECALL_STEPS = 150

# --- starting images ---

# Largest shift of a copy of a public image, in pixels. Set by hand.
SHIFT = 2
# Noise images where there are no public ones. A bound on time.
NOISE_IMAGES = 512
# Images whose features are computed at once. A bound on memory.
CHUNK = 500

# --- sparse rays (linear programs) ---

# Singular directions of M are used whose value is so many times the noise's norm. Set by hand: the sign of an
# entry must show. Identical: 0.876 to 1.15 (digits 20); 0.989 to 1.82 (n32 20).
RAY_STRENGTH = 10.0
# A row of M counts as zero for all members if its norm is below so many times that of its noise. Set by hand.
# Identical: 0.938 to 1.18 (digits 20); 0.9978 to 1.001 (n32 20).
RAY_ROW_NOISE = 10.0
# How far below zero an entry of a ray may be, in standard deviations of its noise. Derived: of 3 million
# entries one lies beyond 5 σ.
RAY_SLACK = 5.0
# Reweighted programs for each ray, at most. Published: most of the gain is in the first few (Candès et al.
# 2008).
RAY_REWEIGHTINGS = 5
# Softening of the weights, relative to a ray's largest entry (ε of Candès et al. 2008). Set by hand.
RAY_SOFTENING = 1e-2
# Cosine of two successive rays from which on reweighting has converged. Set by hand; it saves programs alone.
RAY_CONVERGED = 1 - 1e-8
# Cosine of two rays from which on they are one. Set by hand. Identical: from 0.986453 to 0.995338 (digits
# 20); 0.994902 to 0.99509 (n32 20).
RAY_SAME = 0.995

# --- images from features ---

# Least ρ under the logarithm. Derived: features in float32 have a relative error of about 1e-6.
RESIDUAL_FLOOR = 1e-12
# Bound on the norm of an image's gradient of log ρ. Set by hand: below it nearly everywhere, so that all
# images move alike.
GRADIENT_BOUND = 0.05
# Learning rate, in pixels, of Adam towards one feature. Set by hand.
FEATURE_RATE = 0.1
# Learning rate of the single Adam step before L-BFGS: it hardly moves the image. Set by hand.
POLISH_RATE = 1e-4
# Adam steps without headway (of .1 %) after which an image of a round from images stays where it is. Nearly
# all stop within 150 of 300 steps. Set by hand; it saves time alone.
PLATEAU = 25
# Learning rate over the codes of a decoder, and the weight of the mean of z². Set by hand.
CODE_RATE = 0.05
CODE_PENALTY = 0.01
# Adam steps and rate, in pixels, over images that come from rays, before they are polished. Set by hand.
RAY_IMAGE_STEPS = 100
RAY_IMAGE_RATE = 0.01

# --- candidates of a round ---

# Largest ρ of an image that certificates are computed for. Set by hand, above the ρ of every member found.
# Identical: 0.892 to 1.03 (digits 20); 0.442 to 1.97 (n32 20).
CANDIDATE_RESIDUAL = 3e-3
# Candidates of one round, at most. A bound on time.
CANDIDATES_PER_ROUND = 96
# Share of the noise that polishing assumes. Set by hand: with all of it, weak members are drawn towards
# strong ones.
POLISH_NOISE = 0.3
# A better image of a member replaces the one so far if its normalised residual is at most that share. Set by
# hand.
BETTER_IMAGE = 0.5
# Images of the control. Set by hand: all end at much the same ρ.
CONTROL_IMAGES = 32

# --- acceptance as a member ---

# Largest normalised residual of a feature that is in the span to the noise. Derived: 1 to 2 for a member (a
# ratio of noise energies). The nearest image that is no member was at 12, on all nets tried. Identical: 0.976
# to 1.79 (digits 20); 0.346 to 20.4 (n32 20).
NORMALISED_RESIDUAL = 5.0
# The same for a candidate that is not fully polished, whose label must then be clear. Set by hand. Identical:
# 0.954 to 1.16 (digits 20); 0.0244 to ∞ (n32 20).
COARSE_NORMALISED_RESIDUAL = 100.0
# Largest uncertainty of a weight that votes for N, relative to it. Derived: rounding to N up to 100 needs
# less than 1/(2N). Identical: 0.447 to 75.6 (digits 20); 0.776 to 1.13 (n32 20).
VOTE_UNCERTAINTY = 0.005
# Share of the weight up to which coarse voters agree where no number of images is stated. Set by hand.
COARSE_VOTE_DEVIATION = 0.1
# Weights differ if for every so many voters that agree one member has another weight. Set by hand.
AGREEING_VOTERS = 10
# Least confidence of a scale that is stated and not contradicted. Derived: as ``mapping.scale`` gives it.
STATED_SCALE = 0.9
# The same of a scale that an untrained model gives. Derived: as ``mapping.scale`` gives it.
ESTIMATED_SCALE = 0.6
# Largest error of that scale, as a share. Measured, tests/benchmarks/bench_samples.py: at most 0.05 up to 10
# images. Where the rank leaves many classes, a class may be taken for absent that is not, and it is more.
ESTIMATED_SCALE_ERROR = 0.06
# Largest deviation of a weight from N beside its uncertainty, as a share of N. Set by hand.
WEIGHT_DEVIATION = 0.02
# Standard deviations of a weight by which it may be off N on top. Derived: 3 σ.
WEIGHT_SIGMAS = 3
# Uncertainty, as a share of N, from which on a weight proves nothing. Set by hand: 3 σ then span nearly 0 to
# 2 N. Identical: 0.9983 to 1.001 (digits 20); 0.491 to ∞ (n32 20).
WEIGHT_UNCERTAINTY = 0.3
# Largest deviation from N, as a share of N, where the label or ρ is evidence, too. Derived: nearer to N than
# to 0 or 2 N. Identical: 0.99 to 1.002 (digits 20); 0.9957 to 1.14 (n32 20).
COARSE_WEIGHT_DEVIATION = 0.5
# How many times farther from the row space the next class's δ must be for a label to be clear. Other images:
# 1 to 5. Set by hand. Identical: 0.855 to 1.32 (digits 20); 0.949 to 1.23 (n32 20).
CLEAR_MARGIN = 100.0
# The same from which on another loss is excluded. Derived: label smoothing by ε leaves about ε² of δ outside
# the row space, so this is ε below a thousandth.
PROVEN_LABEL_MARGIN = 1e6
# Largest ρ of a near member, as a share of the control's least, for the search to go on beside it. Set by
# hand. Identical: 0.737 to 1.96 (digits 20).
NEAR_BELOW_CONTROL = 0.25
# The same for a near member to be certified. Chosen by a rule that was fixed beforehand, on clients that no
# table uses: `bench_thresholds.py --near --clients steps steps3 --seeds 20 21 22`. There 1/12, 1/9, 1/6, 1/5,
# 1/4 certify 105, 115, 134, 145, 161 images of at least 20 dB, and 0, 0, 1, 1, 2 below.
CERTIFIED_BELOW_CONTROL = 1 / 9
# The same for an image that only the joint search shows. Set by hand. Identical: 3.93e-08 to ∞ (digits 20).
JOINT_BELOW_CONTROL = 0.1
# Largest normalised residual of a member in what the others leave, where the noise is the others' errors. Set
# by hand: five times that noise covers much. Identical: 0.57 to ∞ (digits 20).
JOINT_NORMALISED_RESIDUAL = 2.0
# Share of clear labels that the model must predict for it to be asked for the others. Derived: more often
# right than wrong. Identical: 0 to 1 (digits 20); 0 to 1.62 (n32 20).
MODEL_AGREES = 0.5
# Cosine of two features from which on they are copies of one image. Set by hand. Identical: from 0.998577 to
# 0.999914 (digits 20); 0.999779 to 1 (n32 20).
SAME_FEATURE = 0.9999
# Cosine of two features from which on they are similar. Set by hand. Identical: from 0.979946 to 0.980059
# (digits 20); 0.966923 to 0.999991 (n32 20).
SIMILAR_FEATURE = 0.98

# --- joint fit: residual ---

# Error (RMS of pixels) of an image whose feature is at ρ, in units of √ρ. Set by hand, from measurements on
# trained networks.
ERROR_OF_RESIDUAL = 1.5
# Least error (RMS of pixels) that an image is said to have. Set by hand, near the rounding of float32 pixels.
LEAST_ERROR = 1e-6
# Size of the differences, in pixels, that Jacobians are made of. Derived: between rounding and curvature in
# float64.
JACOBIAN_STEP = 1e-5
# Pixels below so many Jacobian steps are set to black. Set by hand.
BLACK_STEPS = 10
# How far from zero a unit's input is held on its side of the ReLU. Derived: far below any input's error.
UNIT_MARGIN = 1e-9
# Misfit at which nothing is left to explain, in units of what noise leaves. Derived: 1 is expected, with a
# relative spread of 1/√(2n) for n entries; the rest is set by hand. Identical: 0.73 to 1.25 (digits 20).
EXPLAINED = 1.3
# Largest growth of χ² without an image, as a share of the most that it can be, for the image to be weak. Set
# by hand. Identical: 0.315 to ∞ (digits 20).
WEAK_IMAGE = 0.45
# Share of M's directions that the remainder may have for itself. Set by hand: the rest must determine the
# fitted images.
FREE_DIRECTIONS = 0.75
# Largest size of the Jacobians, in bytes. A bound on memory.
JACOBIAN_BYTES = 2**31

# --- joint fit: solver ---

# A pixel stays black if it and its neighbours are darker than so many times the image's error. Derived: 2 σ.
# Identical: 0.972 to 1.005 (digits 20).
LIT_ERRORS = 2.0
# Units whose input is nearer to zero than that share of the shift that the image's error allows may be on the
# wrong side. Set by hand. Identical: 0.948 to 1.006 (digits 20).
DOUBTFUL_UNIT = 0.2
# Share of the misfit to which a switched unit must lower it. Set by hand. Identical: from 0.98127 to 0.99819
# (digits 20).
SWITCH_GAIN = 0.99
# Iterations of LSMR (Fong & Saunders 2011), and its tolerances. Set by hand.
LSMR_ITERATIONS = 80
LSMR_TOLERANCE = 1e-9
# Solutions of one step, each with more pixels at their bounds. Set by hand.
BOUND_SOLUTIONS = 3
# Attempts at one step, each with more damping. Set by hand.
STEP_ATTEMPTS = 3
# Lengths of a step that are tried: the whole and that share. Set by hand.
SHORT_STEP = 0.4
# Share of the misfit below which a step is taken without a try of the shorter one. Set by hand. Identical:
# 0.952 to 1.11 (digits 20).
GOOD_STEP = 0.85
# Share of the misfit below which a whole step lowers the damping. Set by hand. Identical: 0.969 to 1.01
# (digits 20).
VERY_GOOD_STEP = 0.8
# Factors of the damping: after a very good step, after another accepted one, and after a rejected one.
# Set by hand.
DAMPING_AFTER_GOOD = 0.6
DAMPING_AFTER_FAIR = 1.6
DAMPING_AFTER_BAD = 4.0
# Share of a step's misfit above which another is not worth its time. Set by hand. Identical: from 0.947258 to
# 0.9813 (digits 20).
STEP_CONVERGED = 0.97

# --- joint search ---

# Rounds of a search of the remainder. A bound on time.
REMAINDER_ROUNDS = 4
# Rounds without more images fitted together than ever before, after which the search ends. Set by hand.
JOINT_PATIENCE = 5
# Free singular values that the remainder loses where it yields no new member; and the factor on the steps of
# the fit that follows. Set by hand.
DIRECTIONS_LESS = 2
TIGHT_STEPS = 3
# Least error (RMS of pixels) of an image that was found in a remainder. Set by hand: others' errors are in
# it.
NEW_IMAGE_ERROR = 0.01

# --- expected error of a member ---

# Standard deviation of a pixel before anything is known. Derived: about that of MNIST's pixels.
PIXEL_SPREAD = 0.3
# A pixel so near to 0 or 1 counts as being there. Set by hand.
PIXEL_BOUND = 1e-3
# Size of the differences, in pixels, in float32. Derived: between rounding and curvature.
PIXEL_STEP = 1e-3

# --- several local steps ---

# Share of the accuracy on public images that the updated model must keep for its labels to be used. Set by
# hand.
ACCURACY_KEPT = 0.5

# --- two-sided search: the δ of rough features ---

# The same as RANK_MARGIN for the row space, all of whose δ are decoded: one that is left out spoils all
# features. Derived: the norm of noise fluctuates by few per cent; the rest is set by hand.
ROW_MARGIN = 1.2
# A unit is active for some member if its column of M is so many times longer than noise. Derived: the norm of
# noise has a relative spread of 1/√(2 I), so 6 times excludes it.
LIVE_UNIT_NOISE = 6.0
# Inactive units beyond the rank that a pattern must have. Derived: fewer make (b) and (c) hold by chance.
SPARE_UNITS = 10
# Shares of a pattern's inactive units, the surest first, that decoding starts from. Set by hand.
SUREST_UNITS = (0.6, 0.8, 1.0)
# Rough features from which on the median of a unit's inputs is its scale. Set by hand.
FEATURES_OF_MEDIAN = 8
# Share of the pattern's inactive units that are kept in the first step of a decoding, and how much less in
# each of so many further ones. Set by hand.
KEPT_UNITS = 0.95
KEPT_UNITS_LESS = 0.02
KEPT_STEPS = 20
# Steps of one decoding at most. Set by hand: it ends within 10 to 40.
DECODING_STEPS = 40
# Steps of inverse iteration between two changes of the units; the shift of the Gram matrix, as a share of its
# trace. Set by hand; derived: above the rounding of float64.
INVERSE_STEPS = 3
SHIFT_OF_GRAM = 1e-15
# The falling ε of decoding by reweighted least squares, for rows of length one: from most rows to rounding.
# Set by hand: half as many steps miss some.
ANNEALING_WIDTHS = tuple(0.3 * 10 ** (-8.5 * step / 59) for step in range(60))
# Shares of the inactive units, the surest first, that this is tried with. Set by hand.
ANNEALED_SHARES = (1.0, 0.85, 0.7)
# Rough features that are decoded in this way in a round without a new δ, for a rank up to so much; fewer
# beyond, as its third power. A bound on time.
ANNEALED_FEATURES = 16
ANNEALED_RANK = 100
# Bound on the memory of Gram matrices, in bytes.
DECODING_BYTES = 2**28
# A unit is zero if |δ| is below so many standard deviations of its noise. Derived: 5 σ.
ZERO_SIGMAS = 5.0
# The same without noise: rounding of float64 singular vectors.
ZERO_ROUNDING = 1e-12
# Share of the pattern's units that must be zero. Set by hand.
ZERO_SHARE = 0.85
# Least second eigenvalue of the Gram matrix of unit rows. Set by hand.
UNIQUE = 1e-4
# Largest leverage of one unit on what the others leave open. Set by hand.
LEVERAGE = 0.99
# Refinements of a direction that was found; and its cosine with the one before, from which on it counts as
# the same. Set by hand.
REFINEMENTS = 3
SAME_DIRECTION = 0.9
# Standard deviation in units of the median of absolute values. Derived: of a normal distribution.
MEDIAN_TO_SIGMA = 1.4826
# Largest part of δ at its active units, as a share of its norm, that no label explains. Set by hand: members
# below 0.45, under noise; combinations of members above 0.8.
HEAD_RESIDUAL = 0.6
# Least share of a δ's active units beyond the number of classes. Set by hand: fewer units are explained by
# any classes.
FREE_UNITS = 0.5
# Share of a δ's active units that must be active for the rough feature, too. Set by hand.
COMMON_UNITS = 0.2
# Least part of a unit vector t outside the span of the known ones. Set by hand, above the errors of t: a
# member that is found twice takes the place of another.
NEW_DIRECTION = 0.1
# Share of the live units at which δ and the feature must agree, after one step and after several. Set by
# hand: after ten or more steps members agree at 0.89 or more, since the weights do not move in a straight
# line; the mean of two members agrees at 0.8 to 0.95, another member at 0.6 to 0.9.
PATTERN_AGREES = 0.95
PATTERN_AGREES_STEPS = 0.85
# Of units whose input is so many standard deviations of its noise from zero. Derived: 3 σ. Their least
# number. Set by hand.
CLEAR_INPUT_SIGMAS = 3.0
CLEAR_INPUTS = 30
# Mean square by which pixels may lie outside [0, 1]. Derived: 20 dB.
OUTSIDE_BOX = 0.01
# How far outside [0, 1] the pixels of a single unit's column may lie. Set by hand.
BOX_MARGIN = 0.02
# Rounds of separation and decoding at most; and rounds without a new δ after which it ends. Set by hand.
TWO_SIDED_ROUNDS = 30
TWO_SIDED_PATIENCE = 2
# Rounds without a new δ where few are missing, which separation from other starts often shows; and how many
# are few. Beyond, inequalities do not bound the features, either. Set by hand.
PATIENCE_FOR_FEW = 4
FEW_MISSING = 8
# A unit is active for sure if |δ| is above so many standard deviations of its noise. Set by hand: well above
# ZERO_SIGMAS.
ACTIVE_SIGMAS = 20.0
# Zeros of δ show inactive units if ZERO_SIGMAS are at most this share of the median |δ| of the active ones.
# Derived: about that share of the active units is zero by the noise.
LOST_SHARE = 0.02
# How far a feature may violate its bounds by rounding. Set by hand.
BOUND_ROUNDING = 1e-6
# Factor on the expected error of a bounded feature. Set by hand: after one step without noise the error is as
# expected, to one dB. Under noise and after several steps some bounds are wrong, and it was larger by the
# factor 3 in one of ten.
BOUND_SAFETY = 3.0
# Largest error of a feature that is said to be a pixel, scaled and shifted. Derived: rounding of float32.
PIXEL_ROUNDING = 1e-4
# Largest condition number of the δ, beyond which two of them count as one. Derived: float64 then leaves six
# digits.
LARGEST_CONDITION = 1e10
# Largest expected squared error of a pixel of a certified image. Derived: 20 dB, the level of the tables.
CERTIFIED_ERROR = 0.01
# Public images whose patterns are tried, and units taken for those of one member. A bound on time.
PUBLIC_PATTERNS = 100
# Points of the way from the weights before to those after several local steps, at which a unit must be
# inactive. Set by hand: the ends and three between them.
PATH_POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Signals of one separation at most. A bound on time.
SIGNALS = 20000
# FastICA's steps, and the change of its vectors at which it ends. Set by hand.
SEPARATION_STEPS = 200
SEPARATION_TOLERANCE = 1e-5
