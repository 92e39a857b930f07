# Tables, figures, and the report.


rule list_cells:
    output:
        cells="results/cells.csv",
    log:
        "results/logs/list_cells.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        text=PLAN.cells_csv(),
        code=code_of("list_cells.py", text=True),
    script:
        "../scripts/list_cells.py"


rule summarise:
    input:
        rows=blocks("results/scores/{cell}/{block}.json"),
        records=blocks("results/{stage}/{cell}/{block}.json"),
    output:
        trials=report(
            "results/tables/trials.csv",
            category="Tables",
            labels={"table": "trials"},
            caption="../docs/captions/trials.rst",
        ),
        cells=report(
            "results/tables/cells.csv",
            category="Tables",
            labels={"table": "cells"},
            caption="../docs/captions/cells.rst",
        ),
        labels="results/tables/labels.csv",
        headline=report(
            "results/tables/headline.csv",
            category="Tables",
            labels={"table": "headline"},
            caption="../docs/captions/headline.rst",
        ),
        effects=report(
            "results/tables/effects.csv",
            category="Tables",
            labels={"table": "effects"},
            caption="../docs/captions/effects.rst",
        ),
        latex="results/tables/headline.tex",
    log:
        "results/logs/summarise.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        blocks=DONE.asked(),
        cells=PLAN.described(),
        studies={s.name: s.cells for s in PLAN.studies},
        missing=missing_blocks,
        code=code_of("summarise.py", text=True),
    script:
        "../scripts/summarise.py"


rule plot:
    input:
        unpack(figure_inputs),
    output:
        figure=report(
            "results/figures/{figure}.png",
            category="Figures",
            subcategory=figure_group,
            labels={"figure": "{figure}"},
            caption="../docs/captions/figure.rst",
        ),
        vector="results/figures/{figure}.pdf",
    log:
        "results/logs/plot/{figure}.log",
    wildcard_constraints:
        figure="|".join(figures.FIGURES),
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        cells=figure_cells,
        caption=lambda w: figures.FIGURES[w.figure].caption,
        code=code_of("plot.py", text=True),
    script:
        "../scripts/plot.py"


rule assess_prospects:
    input:
        gradients="results/mapping/{target}/{block}/gradients.npz",
        report="results/mapping/{target}/{block}/mapping.json",
    output:
        prospects="results/mapping/{target}/{block}/prospects.json",
    log:
        "results/logs/assess_prospects/{target}/{block}.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("assess_prospects.py", text=True),
    script:
        "../scripts/assess_prospects.py"


rule plot_mapping:
    input:
        report="results/mapping/{target}/{block}/mapping.json",
        spectrum="results/mapping/{target}/{block}/spectrum.npz",
    output:
        figure=report(
            "results/figures/mapping/{target}_{block}.png",
            category="Mapping",
            labels={"target": "{target}", "draws": "{block}"},
            caption="../docs/captions/mapping.rst",
        ),
    log:
        "results/logs/plot_mapping/{target}/{block}.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("plot_mapping.py", text=True),
    script:
        "../scripts/plot_mapping.py"


rule plot_prior:
    input:
        history="results/priors/{prior}/history.json",
        panel="results/priors/{prior}/panel.npz",
    output:
        figure=report(
            "results/figures/priors/{prior}.png",
            category="Priors",
            labels={"prior": "{prior}"},
            caption="../docs/captions/prior.rst",
        ),
    log:
        "results/logs/plot_prior/{prior}.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("plot_prior.py", text=True),
    script:
        "../scripts/plot_prior.py"


rule decide_verdict:
    input:
        trials="results/tables/trials.csv",
        labels="results/tables/labels.csv",
        mappings=[f"results/mapping/{t}/{b}/mapping.json" for t, b in AUDITED],
        prospects=[f"results/mapping/{t}/{b}/prospects.json" for t, b in AUDITED],
    output:
        verdict="results/tables/verdict.json",
    log:
        "results/logs/decide_verdict.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        target=lambda w: DONE.target_names[DONE.audited().id],
        has_public=lambda w: DONE.audited().has_public,
        updates=[PLAN.place(t, b) for t, b in AUDITED],
        unmapped=[PLAN.place(*pair) for pair in PLAN.mapped() if pair not in AUDITED] if AUDITED else [],
        code=code_of("decide_verdict.py", text=True),
    script:
        "../scripts/decide_verdict.py"


rule write_report:
    input:
        verdict=VERDICT,
        trials="results/tables/trials.csv",
        cells="results/tables/cells.csv",
        headline="results/tables/headline.csv",
        effects="results/tables/effects.csv",
        figures=FIGURES,
        records=[f"results/{DONE.cells[c].stage}/{c}/{b}.json" for c, b in DONE.asked()][:1]
        + [f"results/inversions/{c}/{b}.json" for c, b in DONE.shown()],
        gradients=[f"results/mapping/{t}/{b}/gradients.npz" for t, b in DONE.mapped()],
        mappings=[f"results/mapping/{t}/{b}/mapping.json" for t, b in DONE.mapped()],
        prospects=[f"results/mapping/{t}/{b}/prospects.json" for t, b in DONE.mapped()],
        mapping_figures=MAPPING_FIGURES,
        prior_figures=PRIOR_FIGURES,
        references=[f"results/reference_classifiers/{d}.json" for d in DONE.datasets()],
        recovered=[f"results/scores/{c}/{b}.json" for c, b in DONE.recorded()],
    output:
        report="results/report.html",
    log:
        "results/logs/write_report.log",
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        recorded=[c for c, _ in DONE.recorded()],
        mapped=[DONE.update_name(t, b) for t, b in DONE.mapped()],
        descriptions={s.name: s.description for s in PLAN.studies},
        settings=PLAN.described(),
        code=code_of("write_report.py", text=True),
    script:
        "../scripts/write_report.py"
