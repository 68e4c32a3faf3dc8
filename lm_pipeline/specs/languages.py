"""The languages that can be told apart: what a corpus may keep, by the codes that documents get."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from lm_pipeline.specs.base import no_bool

_CODES = """
    af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de
    diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo
    io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms
    mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn
    sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk und ur uz vec vep vi vls vo wa war wuu xal
    xmf yi yo yue zh
"""
LANGUAGES = frozenset(_CODES.split())
"""lid.176's, and `und` (nothing to tell a language by): ISO 639-1 where there is a code, else ISO 639-3."""


def _known(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(
            "no document is ever given this language; expected a code of ISO 639-1, such as en, zh, ja, de"
            " (ISO 639-3 where that has none, such as yue)"
        )
    return code


Language = Annotated[str, AfterValidator(_known), BeforeValidator(no_bool)]
"""The code of a language that documents are given; others would reject all of them."""
