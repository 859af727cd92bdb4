"""The invented species of the embedded archive: taxonomy, voice, place and how many recordings."""

from __future__ import annotations

from dataclasses import dataclass

from hf_inatsounds.quickstart.voices import Voice


@dataclass(frozen=True)
class Species:
    """One class of the embedded archive.

    Attributes:
        lineage: the seven ranks.
        common_name: empty for one, as in the official annotations.
        supercategory: as iNaturalist has it.
        voice: how it sounds.
        place: latitude and longitude of its range's middle, in degrees.
        train: recordings in train; the numbers have a long tail.
        heldout: recordings in validation and in test; 0 for a class that they lack.
    """

    lineage: tuple[str, str, str, str, str, str, str]
    common_name: str
    supercategory: str
    voice: Voice
    place: tuple[float, float]
    train: int
    heldout: int

    @property
    def name(self) -> str:
        """Scientific name."""
        return f"{self.lineage[5]} {self.lineage[6]}"


def _species(
    lineage: str, common: str, supercategory: str, voice: Voice, place: tuple[float, float], train: int, heldout: int
) -> Species:
    phylum, klass, order, family, genus, epithet = lineage.split()
    return Species(
        ("Animalia", phylum, klass, order, family, genus, epithet), common, supercategory, voice, place, train, heldout
    )


SPECIES = (
    _species("Chordata Amphibia Anura Pulsidae Pulsorana lenta", "Slow-pulsed Frog", "Amphibia",
             Voice(700, 700, 0.045, notes=9, gap_s=0.055, pause_s=0.5, harmonics=3), (4.0, -60.0), 16, 5),
    _species("Chordata Amphibia Anura Pulsidae Pulsorana grunniens", "Grunting Frog", "Amphibia",
             Voice(320, 260, 0.28, pause_s=0.5, buzz_hz=32, harmonics=6), (8.0, -75.0), 9, 5),
    _species("Chordata Aves Passeriformes Sibilidae Sibilus descendens", "Falling Whistler", "Aves",
             Voice(5200, 2300, 0.55, pause_s=0.5), (48.0, 8.0), 26, 6),
    _species("Chordata Aves Passeriformes Sibilidae Sibilus ascendens", "Rising Whistler", "Aves",
             Voice(2000, 4600, 0.40, notes=2, gap_s=0.08, pause_s=0.6), (52.0, 20.0), 20, 6),
    _species("Chordata Aves Passeriformes Trillidae Trillornis rapidus", "Rapid Triller", "Aves",
             Voice(3600, 3300, 0.030, notes=22, gap_s=0.022, pause_s=0.5), (40.0, -100.0), 18, 6),
    _species("Chordata Aves Passeriformes Trillidae Trillornis chorda", "", "Aves",
             Voice(2900, 2900, 0.9, pause_s=0.4, vibrato=0.10, vibrato_hz=11), (35.0, -85.0), 6, 5),
    _species("Chordata Aves Strigiformes Ululidae Ulula profunda", "Deep Hooter", "Aves",
             Voice(430, 400, 0.32, notes=2, gap_s=0.16, pause_s=0.7, harmonics=2), (60.0, 25.0), 3, 0),
    _species("Arthropoda Insecta Orthoptera Stridulidae Stridulus constans", "Steady Buzzer", "Insecta",
             Voice(6800, 6800, 1.6, pause_s=0.3, buzz_hz=95, hiss=0.7), (-25.0, 135.0), 22, 6),
    _species("Arthropoda Insecta Orthoptera Stridulidae Stridulus crepitans", "Ticking Buzzer", "Insecta",
             Voice(8600, 8200, 0.016, notes=5, gap_s=0.10, pause_s=0.25, hiss=0.5), (-33.0, 150.0), 12, 5),
    _species("Chordata Mammalia Carnivora Howlidae Howlus cantans", "Singing Howler", "Mammalia",
             Voice(480, 820, 1.0, pause_s=0.6, harmonics=8), (45.0, -110.0), 14, 5),
    _species("Chordata Mammalia Rodentia Stridoridae Stridor acutus", "Sharp Chirper", "Mammalia",
             Voice(7400, 5200, 0.07, notes=3, gap_s=0.13, pause_s=0.5), (37.0, -118.0), 2, 0),
    _species("Chordata Reptilia Squamata Gekkidae Gekkulus vocans", "Calling Gecko", "Reptilia",
             Voice(1500, 900, 0.11, notes=4, gap_s=0.10, pause_s=0.6, harmonics=4, hiss=0.4), (10.0, 100.0), 1, 0),
)  # fmt: skip
"""In no particular order: ids follow the folders' alphabetical order, as in the official release."""
