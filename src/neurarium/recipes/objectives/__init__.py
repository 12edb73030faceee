"""Family 02: losses, penalties, regularization, augmentation."""
