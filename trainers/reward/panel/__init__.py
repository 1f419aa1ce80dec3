"""How often would each recruiter of a panel prefer one model's replies? The judge of an evaluation.

It never shares data or weights with the head that ranks and trains.
"""

from trainers.reward.panel.calibration import Calibration, cross_validated, scaled
from trainers.reward.panel.judged import Judged
from trainers.reward.panel.posterior import Panel, fit_panel
from trainers.reward.panel.settings import PanelSettings

__all__ = ["Calibration", "Judged", "Panel", "PanelSettings", "cross_validated", "fit_panel", "scaled"]
