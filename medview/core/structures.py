"""Names of body structures as other programs write them, and the SNOMED CT codes they stand for.

Only names that leave no doubt are here. A name that is not keeps its own words under the code of
any anatomical structure: a wrong code is worse than a broad one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from medview.core.codes import Code
from medview.core.findings import Laterality

#: What a structure is called by code when its name says no more (SNOMED CT 91723000).
ANY_STRUCTURE = Code("91723000", "SCT", "Anatomical structure")

_SIDES = {"left": Laterality.LEFT, "right": Laterality.RIGHT}
#: Words that change nothing, and spellings of one word.
_FILLERS = frozenset({"of", "the", "and", "structure", "area", "region"})
_SPELLINGS = {
    "grey": "gray", "oesophagus": "esophagus", "vertebrae": "vertebra", "cartilages": "cartilage",
    "lungs": "lung", "kidneys": "kidney", "ribs": "rib", "vessels": "vessel", "3rd": "third",
    "4th": "fourth", "inf": "inferior", "lat": "lateral", "brainstem": "brain stem",
    "bowel": "intestine", "tumour": "tumor", "csf": "cerebrospinal fluid",
}  # fmt: skip

#: Code, its meaning, and the names it goes by: the meaning itself and those after it.
_TABLE = """
12738006|Brain
389080008|White Matter
389081007|Gray Matter
68523003|Cerebral White Matter
40146001|Cerebral Cortex|cerebral gray matter
33060004|Cerebellar White Matter|cerebellum white matter
25991003|Cerebellar Cortex|cerebellum cortex
113305005|Cerebellum
66720007|Lateral Ventricle
53118009|Inferior Horn of Lateral Ventricle|inferior lateral ventricle
49841001|Third ventricle
35918002|Fourth Ventricle
35764002|Brain ventricle|ventricles brain
119238007|Brain Stem
42695009|Thalamus|thalamus proper
11000004|Caudate Nucleus|caudate
89278009|Putamen
14738005|Globus Pallidus|pallidum
427667007|Nucleus Accumbens|accumbens
4958002|Amygdala
5366008|Hippocampus
65216001|Cerebrospinal Fluid
88442005|Corpus callosum
61962009|Midbrain
56329008|Pituitary|pituitary gland
2748008|Spinal cord
81745001|Eye|eyeball
18234004|Optic nerve
89546000|Skull
89545001|Face
91609006|Mandible
70925003|Maxilla
45289007|Parotid gland
69748006|Thyroid|thyroid gland
44567001|Trachea
32849002|Esophagus
39607008|Lung
44714003|Upper lobe of left lung|lung upper lobe left
90572001|Lower lobe of lung|lung lower lobe
45653009|Upper lobe of lung|lung upper lobe
72481006|Middle lobe of right lung|lung middle lobe right,lung middle lobe
89187006|Airway|airways
3120008|Pleura
60046008|Pleural effusion
80891009|Heart
49848007|Left Ventricle Myocardium|heart myocardium left ventricle
82471001|Left atrium|heart atrium left
73829009|Right atrium|heart atrium right
87878005|Left ventricle|heart ventricle left
53085002|Right ventricle|heart ventricle right
15825003|Aorta
64131007|Inferior vena cava
48345005|Superior vena cava
81040000|Pulmonary artery
122972007|Pulmonary vein
32764006|Portal vein
35819009|Splenic vein
32062004|Common carotid artery
36765005|Subclavian artery
8887007|Brachiocephalic vein
12691009|Brachiocephalic trunk
73634005|Common iliac artery|iliac artery
46027005|Common iliac vein|iliac vena
33626005|Left auricular appendage|atrial appendage left
41801008|Coronary artery|coronary arteries
59820001|Blood vessel|vessel
10200004|Liver
78961009|Spleen
64033007|Kidney
28231008|Gallbladder
69695003|Stomach
15776009|Pancreas
23451007|Adrenal gland
30315005|Small intestine
38848004|Duodenum
71854001|Colon
14742008|Large intestine
34402009|Rectum
89837001|Urinary bladder|bladder
41216001|Prostate
35039007|Uterus
54735007|Sacrum
421060004|Spine|vertebral column
51282000|Vertebra|vertebra s1
113197003|Rib
50016007|Costal cartilage
56873002|Sternum
51299004|Clavicle|clavicula
79601000|Scapula
85050009|Humerus
71341001|Femur
64234005|Patella
12611008|Tibia
87342007|Fibula
108371006|Tarsus|tarsal
62413002|Radius
23416004|Ulna
36455000|Metacarpus|metacarpal
29836001|Hip
44947003|Erector spinae muscle|autochthon
127954009|Skeletal muscle|gluteus maximus,gluteus medius,gluteus minimus,iliopsoas,sartorius
71966008|Subcutaneous tissue
272673000|Bone
39937001|Skin
5665001|Retina
81016008|Optic disc
14806007|C1 vertebra
39976000|C2 vertebra
113205007|C3 vertebra
5329002|C4 vertebra
36978003|C5 vertebra
36054005|C6 vertebra
87391001|C7 vertebra
64864005|T1 vertebra
53733008|T2 vertebra
1626008|T3 vertebra
73071006|T4 vertebra
56401006|T5 vertebra
45296009|T6 vertebra
62487009|T7 vertebra
11068009|T8 vertebra
82687006|T9 vertebra
7610001|T10 vertebra
12989004|T11 vertebra
23215003|T12 vertebra
66794005|L1 vertebra
14293000|L2 vertebra
36470004|L3 vertebra
11994002|L4 vertebra
49668003|L5 vertebra
"""


def structure_of(name: str) -> tuple[Code, Laterality | None]:
    """The code of a structure by its name, and the side the name says.

    Order of words, case, underscores and the usual plurals do not matter; a number at a rib is
    left to the name. ANY_STRUCTURE for a name that is not known beyond doubt.
    """
    words = _words(name)
    sides = words.intersection(_SIDES)
    side = _SIDES[next(iter(sides))] if len(sides) == 1 else None
    code = _NAMES.get(words) or _NAMES.get(words.difference(_SIDES))
    if code is None and "rib" in words:
        code = _NAMES.get(frozenset(w for w in words.difference(_SIDES) if not w.isdigit()))
    return code or ANY_STRUCTURE, side


def readable(name: str) -> str:
    """A name as people write it: `lung_upper_lobe_left` as `Left lung upper lobe`."""
    words = [word for word in re.split(r"[\s_\-]+", name.strip()) if word]
    sides = [word for word in words if word.lower() in _SIDES]
    if len(sides) == 1:
        words = sides + [word for word in words if word.lower() not in _SIDES]
    # Words with capitals beyond the first are names of their own: T1, MRI, VentralDC.
    text = " ".join(word if re.search(r".[A-Z]|[A-Z]\d", word) else word.lower() for word in words)
    return text[:1].upper() + text[1:]


def _words(name: str) -> frozenset[str]:
    found: set[str] = set()
    for word in re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()):
        found.update(_SPELLINGS.get(word, word).split())
    return frozenset(found - _FILLERS)


def _read_table() -> Mapping[frozenset[str], Code]:
    names: dict[frozenset[str], Code] = {}
    for line in _TABLE.strip().splitlines():
        value, meaning, *more = line.split("|")
        code = Code(value, "SCT", meaning)
        for name in (meaning, *(more[0].split(",") if more else ())):
            names[_words(name)] = code
    return MappingProxyType(names)


_NAMES = _read_table()
