"""Scenes of the simulated line, for training and for validation."""

from __future__ import annotations

from nanoseg.evaluation.scenes import Scene
from nanoseg.sources.simulator.line import LABELS, TEST_SEED, SimulatedLine

VALIDATION_SEED = TEST_SEED - 100_000
# Most of the time of a new line's first frame goes into rendering its parts, so several frames of each are used. Eight
# lines are interleaved, as a batch of images of one belt teaches little.
FRAMES_PER_LINE, FRAME_STEP, INTERLEAVED_LINES = 16, 20, 8
ENDLESS = 1 << 30  # length of the simulated scenes
# Several aspect ratios, the demo's most often, so that no network learns a single one by heart.
LINE_SIZES_WH = ((640, 480), (640, 480), (640, 480), (640, 360), (480, 640), (512, 512))


class SimulatedScenes:
    """Frames of any number of simulated lines."""

    mirror_symmetric = True

    def __init__(self, validation: bool = False) -> None:
        """Open the scenes for training, or those for validation.

        The lines of tests and of the demo, whose seeds start at TEST_SEED, belong to neither.

        Args:
            validation: use lines that are never trained on.
        """
        self.labels, self.present_labels = tuple(LABELS), frozenset(LABELS)
        self.validation = validation
        self._lines: dict[int, SimulatedLine] = {}

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> Scene:
        group, rest = divmod(index, FRAMES_PER_LINE * INTERLEAVED_LINES)
        step, member = divmod(rest, INTERLEAVED_LINES)
        seed = group * INTERLEAVED_LINES + member
        if seed not in self._lines:
            # The oldest is dropped, as scenes are read in order, or nearly.
            while len(self._lines) >= 2 * INTERLEAVED_LINES:
                del self._lines[next(iter(self._lines))]
            self._lines[seed] = self._make_line(seed)
        frame, truth = self._lines[seed].sample(step * FRAME_STEP)
        return Scene(frame.image, truth.xyxy, truth.class_id, lambda: truth.masks)

    @staticmethod
    def index_of(line: int, frame: int) -> int:
        """Return the index of a frame, 0 to FRAMES_PER_LINE - 1, of a line, counted from 0."""
        group, member = divmod(line, INTERLEAVED_LINES)
        return (group * FRAMES_PER_LINE + frame) * INTERLEAVED_LINES + member

    def _make_line(self, seed: int) -> SimulatedLine:
        if self.validation:
            return SimulatedLine(seed=VALIDATION_SEED + seed)
        size_wh = LINE_SIZES_WH[seed % len(LINE_SIZES_WH)]
        objects = 4 + seed % 5
        return SimulatedLine(seed=seed % VALIDATION_SEED, size_wh=size_wh, objects=objects, part_px=(70, 170))
