"""What each figure shows, for both reports. Read while the workflow is parsed."""

CAPTIONS = {
    "reconstructions": "True images (upper rows) and what each attack made of them (lower rows), first seed of each cell. "
    "Pairs are matched one to one after the attack has ended; the best-matched ones are shown first.",
    "recovery": "Share of the true images that were rebuilt to 20 dB or better, as one setting of the update changes and all else stays. "
    "Bars: 95 % bootstrap intervals over draws.",
    "psnr_by_batch_size": "PSNR against the number of images in the update. Bars: 95 % bootstrap intervals over draws. "
    "Dashed: the public image nearest to each true one, which needs the truth to find; an attack below it is no better than a good guess. Where cells go over several sizes, "
    "their variants at one size are left to the figure `recovery`.",
    "weighting": "How the weighting of layers in the matching loss changes the result of DLG. Bars: 95 % intervals over draws.",
    "effects": "What one setting changes: difference from the base value, all else equal, with 95 % bootstrap intervals. Filled: "
    "paired by draw, both cells attacked the same updates. Open: different updates. At most forty of each kind, the largest; "
    "all are in results/tables/effects.csv.",
    "seeds": "Every trial of every cell. Each dot is a seed on a draw; bar: the median. Dotted: 20 dB.",
    "loss_curves": "Each attack's own objective. Thin: single seeds. Bold: their median.",
    "label_recovery": "Share of labels recovered. Dashed: uniform guessing, below which nothing is learnt.",
    "label_counts": "Images per class, recovered against true, over all trials. Area: how often. The diagonal is right.",
    "label_skill": "Labels recovered above uniform guessing (dashed: skill 0), as a share of what is left above it.",
    "label_coverage": "Left: how often the intervals of class counts hold the truth, against how often they should; dots: cells. "
    "Right: what that costs in width.",
    "label_intervals": "Class counts with their 90 % intervals against the true ones. Orange: the interval misses the truth.",
    "label_table": "Mean IRec of every method in every setting. Bold: the best. Below the line: uniform guessing; grey: no better.",
}
