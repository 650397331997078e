"""What every data set of feature vectors says about itself."""

from typing import ClassVar

from core.spec.base import Spec


class Table(Spec):
    """Examples with a feature vector each; the facts are class variables, not fields."""

    examples: ClassVar[int]
    """Examples that train, validation and test sets may be drawn from (without validation and test sets of its own)."""
    validation_examples: ClassVar[int] = 0
    """Size of the data set's own validation set; 0: it has none and the validation set is drawn as the training set."""
    test_examples: ClassVar[int] = 0
    """Size of the data set's own test set; 0: it has none and the test set is what the others leave."""
    features: ClassVar[int]
    classes: ClassVar[int] = 0
    """Number of classes; 0: the target is a number."""

    def stored(self) -> int:
        """Examples of all its sets together."""
        return self.examples + self.validation_examples + self.test_examples
