"""The studies by name."""

from bilevel_client.reproduction.studies import (
    effect_of_t,
    hyper_cleaning,
    hyperparameters,
    learned_optimizer,
    learners,
    mini_imagenet,
    omniglot,
    overfitting,
    variants,
)
from bilevel_client.reproduction.study import Study

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        effect_of_t.STUDY,
        omniglot.STUDY,
        mini_imagenet.STUDY,
        variants.STUDY,
        variants.OMNIGLOT,
        hyper_cleaning.STUDY,
        hyperparameters.STUDY,
        learners.STUDY,
        learned_optimizer.STUDY,
        overfitting.STUDY,
    )
}
