"""The report command: its files, its last line, its figures, and its refusals."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_pz.comparison.figures import learning_curves, overview, style_indices
from lightning_pz.errors import UserError
from lightning_pz.report import main
from lightning_pz.search.settings import ALGORITHMS

pytest_plugins = ()
