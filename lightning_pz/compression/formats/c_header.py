"""Writes a compressed policy as one C99 header that needs no other code: no allocation, no library, no file but its own.

`policy_act` computes what `lightning_pz.compression.formats.reference_forward` defines, to the last bit, wherever `float` is IEEE 754
binary32 evaluated as such and products are not fused into sums (`-std=c99` does not; else `-ffp-contract=off`). Each layer's
weights have the form of the fewest bytes. What lies between layers is kept in static arrays, so that `size` counts it: one
call at a time.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from lightning_pz.common.files import write_text
from lightning_pz.compression.formats import narrow
from lightning_pz.compression.formats.network_file import read_stored
from lightning_pz.compression.formats.reference_forward import CONSTANTS
from lightning_pz.compression.formats.stages import LinearLayer, Stage, stages_of
from lightning_pz.compression.formats.weight_forms import WeightForm, smallest_form

_TYPES = {"i1": "int8_t", "u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "f4": "float"}
_ROUND = """
static inline int8_t policy_round(float v)
{
    v = v > -127.0f ? (v < 127.0f ? v : 127.0f) : -127.0f;
    return (int8_t)((v + @MAGIC) - @MAGIC); /* to the nearest, ties to even */
}
"""
_LOWEST = """
static inline int policy_lowest(unsigned bits)
{
    static const uint8_t place[8] = {0, 1, 2, 4, 7, 3, 6, 5}; /* of the only bit of a byte, by a de Bruijn sequence */
    return place[(bits & (0u - bits)) * 0x17u >> 5 & 7u];
}
"""
_LEVEL = """
static inline int policy_level(const uint8_t *packed, uint32_t place)
{
    return (int)((packed[place >> 1] >> ((place & 1u) * 4u)) & 15u) - 8; /* the first of a byte in its low half */
}
"""
_WIDE = """
static inline float policy_wide(uint16_t upper)
{
    union { uint32_t bits; float number; } value;
    value.bits = (uint32_t)upper << 16; /* a bfloat16 is the upper half of a float */
    return value.number;
}
"""
_TANH = """
static inline float policy_tanh(float x)
{
    float size = x < 0.0f ? -x : x, v;
    if (size < @SMALL) {
        float square = x * x;
        v = @ODD;
        return x + x * (square * v);
    }
    v = 1.0f;
    if (size < @LARGE) {
        float twice = size * 2.0f;
        int power = (int)(twice * @LOG2_E + 0.5f);
        float rest = (twice - (float)power * @LN2_HIGH) - (float)power * @LN2_LOW;
        v = @EXPONENT;
        v = 1.0f - 2.0f / (v * (float)((uint32_t)1 << power) + 1.0f);
    }
    return x < 0.0f ? -v : v;
}
"""
_SUMS = {
    "dense": "for (int j = 0; j < {size}; ++j)\n    sum += {term};",
    "bitmap": "for (int j = 0; j < {size}; j += 8)\n"
    "    for (unsigned bits = *bit++; bits; bits &= bits - 1, ++{at})\n        sum += {term};",
    "rows": "for (int left = *count++; left > 0; --left, ++{at}, ++column)\n    sum += {term};",
}
"""The sum over a row, by form; `at` goes through the weights of all rows: a pointer, or the place of a level of 4 bits."""
_PAIRS = (
    "for (int j = 0; j < {even}; j += 2, ++weight) {{\n"
    "    sum += {cast}((*weight & 15) - 8) * x[j];\n    sum += {cast}((*weight >> 4) - 8) * x[j + 1];\n}}"
)
_LAST = "\nsum += {cast}((*weight++ & 15) - 8) * x[{even}];"
"""The sum over a dense row of levels of 4 bits, both of a byte in a step, and over the last one of an odd number."""
_TERMS = {
    "dense": "{weight}++ * x[j]",
    "bitmap": "{weight} * x[j + policy_lowest(bits)]",
    "rows": "{weight} * x[*column]",
}


def write_header(path: str | Path, to: Path, *, choices: bool) -> None:
    """Write the policy in a `.lpz` file as a header; with `choices` its outputs are scores, the largest of which is taken.

    Raises `UserError` for a network of other than linear layers, before anything is written.
    """
    stored = read_stored(path)
    write_text(to, _Header(stages_of(stored)).text(stored.meta, choices))


class _Header:
    """The text of a header under construction."""

    def __init__(self, stages: list[Stage]) -> None:
        self.stages, self.arrays, self.rows = stages, list[str](), list[str]()
        first = next(stage.linear for stage in stages if stage.linear is not None)
        self.sizes = [first.weight.shape[1]]
        for stage in stages:
            self.sizes.append(stage.size(self.sizes[-1]))
        self.functions = [self._function(number) for number in range(len(stages))]

    def text(self, meta: dict[str, Any], choices: bool) -> str:
        """Return the whole file."""
        body = "\n".join(self.functions)
        known = {
            "policy_round(": _ROUND, "policy_lowest(": _LOWEST, "policy_level(": _LEVEL, "policy_wide(": _WIDE,
            "policy_tanh(": _TANH,
        }  # fmt: skip
        helpers = "".join(text for call, text in known.items() if call in body)
        for name, value in CONSTANTS.items():
            helpers = helpers.replace(f"@{name}", _literal(value) if np.ndim(value) == 0 else _horner(name, value))
        words = [f"{key}: {value}".replace("*/", "* /") for key, value in meta.items()]
        what = "the scores of the choices" if choices else "the action, inside its box"
        head = [
            "A policy, written by lightning_pz. It needs nothing but this file and a C99 compiler.",
            f"policy_act takes a raw observation of {self.sizes[0]} numbers and gives {what}, {self.sizes[-1]} numbers.",
            *(["policy_choose gives the number of the choice with the highest score."] if choices else []),
            "One call at a time: what lies between layers is in static arrays. Bits are those of other machines where float",
            "is IEEE 754 binary32 and products are not fused into sums (-std=c99, or -ffp-contract=off).",
            *words, *self.rows,
        ]  # fmt: skip
        comment = "/* " + "\n * ".join(head) + "\n */"
        parts = [
            f"{comment}\n#ifndef POLICY_H\n#define POLICY_H\n\n#include <stdint.h>\n",
            "#ifdef __clang__\n#pragma STDC FP_CONTRACT OFF\n#endif\n",
            f"#define POLICY_OBSERVATIONS {self.sizes[0]}\n#define POLICY_OUTPUTS {self.sizes[-1]}\n",
            "\n".join(self.arrays), helpers + body, self._act() + (_choose() if choices else ""), "#endif",
        ]  # fmt: skip
        return "\n".join(parts) + "\n"

    def _act(self) -> str:
        made: dict[str, int] = {}
        used = {"float": 0, "int8_t": 0}
        calls, source = [], "observation"
        for number, stage in enumerate(self.stages):
            kind, to = _kind(stage.step), "action"
            if number < len(self.stages) - 1:
                to = f"{'values' if kind == 'float' else 'levels'}_{used[kind] % 2}"
                used[kind] += 1
                made[f"{kind} {to}"] = max(self.sizes[number + 1], made.get(f"{kind} {to}", 0))
            calls.append(f"    policy_stage_{number}({source}, {to});")
            source = to
        kept = [f"    static {name}[{size}];" for name, size in made.items()]
        lines = ["static inline void policy_act(const float *observation, float *action)", "{", *kept, *calls, "}"]
        return "\n" + "\n".join(lines) + "\n"

    def _function(self, number: int) -> str:
        stage = self.stages[number]
        layer, before = stage.linear, self.stages[number - 1].step if number else None
        lines = ["float v = x[i];"] if layer is None else []
        begin: list[str] = []
        if layer is not None:
            form = smallest_form(layer.weight, packed=layer.bits == 4)
            shape, levels = " x ".join(map(str, layer.weight.shape)), " of 4 bits" if layer.bits == 4 else ""
            self.rows.append(f"layer {number}: {shape} as {form.kind}{levels}, {form.size} bytes")
            begin, lines = self._linear(number, layer, form)
        for place, (kind, arrays) in enumerate(stage.operations):
            names = {key: self._value(f"{key}_{number}_{place}", value) for key, value in arrays.items()}
            lines.append(self._operation(kind, names, arrays))
        lines.append(
            "y[i] = v;" if stage.step is None else f"y[i] = policy_round(v * {_literal(np.float32(1) / stage.step)});"
        )
        inner = textwrap.indent("\n".join(lines), " " * 8)
        top = "".join(f"    {line}\n" for line in begin)
        return (
            f"static inline void policy_stage_{number}(const {_kind(before)} *x, {_kind(stage.step)} *y)\n"
            f"{{\n{top}    for (int i = 0; i < {self.sizes[number + 1]}; ++i) {{\n{inner}\n    }}\n}}\n"
        )

    def _linear(self, number: int, layer: LinearLayer, form: WeightForm) -> tuple[list[str], list[str]]:
        """Return the lines before the rows, and those of a row, after which `v` is its number."""
        names = {key: self._array(f"{key}_{number}", array) for key, array in form.arrays.items()}
        names["weight"] = names.pop("value")
        begin = [
            f"const {_ctype(form.arrays['value' if key == 'weight' else key])} *{key} = {name};"
            for key, name in names.items()
        ]
        integer = layer.step is not None
        cast = "(float)" if layer.bits and not integer else ""
        total = "int32_t sum = 0;" if integer else "float sum = 0.0f;"
        more, loop = _sum(form.kind, layer.weight.shape[1], cast, packed=layer.bits == 4)
        value = "(float)sum" if integer else "sum"
        if layer.scale is not None:
            value += f" * {self._factor(number, layer)}"
        if layer.bias is not None:
            value += f" + {self._value(f'bias_{number}', layer.bias)}"
        return begin + more, [total, "float v;", loop, f"v = {value};"]

    def _factor(self, number: int, layer: LinearLayer) -> str:
        """Return an expression for what the sum of row i is multiplied by; many scales of 4 bits stay bfloat16."""
        scale, factor = layer.scale, layer.factor
        assert scale is not None and factor is not None
        if layer.bits != 4 or np.all(scale == scale[0]):
            return self._value(f"scale_{number}", factor)
        wide = f"policy_wide({self._array(f'scale_{number}', narrow.upper_halves(scale))}[i])"
        return wide if layer.step is None else f"({wide} * {_literal(layer.step)})"

    def _operation(self, kind: str, names: dict[str, str], arrays: dict[str, np.ndarray]) -> str:
        clip = "v = v > {low} ? (v < {high} ? v : {high}) : {low};"
        forms = {
            "standardize": "v = (v - {mean}) / {std};",
            "divide": "v = v / {by};",
            "relu": "v = v > 0.0f ? v : 0.0f;",
            "tanh": "v = policy_tanh(v);",
            "silu": "v = 0.5f * v;\nv = v + v * policy_tanh(v);",
            "clip_box": clip,
            "tanh_box": "v = {low} + (policy_tanh(v) + 1.0f) * 0.5f * ({high} - {low});\n" + clip,
            "round": "v = (float)policy_round(v * {inverse}) * {step};",
        }
        if kind == "round":
            names["inverse"] = _literal(np.float32(1) / arrays["step"][0])
        return forms[kind].format(**names)

    def _value(self, name: str, array: np.ndarray) -> str:
        """Return an expression for the number of row i: a literal where all are equal."""
        if np.all(array == (first := np.ravel(array)[0])):
            return _literal(first)
        return f"{self._array(name, array)}[i]"

    def _array(self, name: str, array: np.ndarray) -> str:
        numbers = map(_literal, array) if array.dtype.kind == "f" else map(str, array.tolist())
        text = textwrap.fill(", ".join(numbers), 116, initial_indent="    ", subsequent_indent="    ")
        self.arrays.append(f"static const {_ctype(array)} policy_{name}[{len(array)}] = {{\n{text}\n}};")
        return f"policy_{name}"


def _sum(kind: str, columns: int, cast: str, *, packed: bool) -> tuple[list[str], str]:
    """Return the lines before the rows, and the sum over a row; if `packed`, of levels of 4 bits."""
    if packed and kind == "dense":
        return [], (_PAIRS + _LAST * (columns % 2)).format(even=columns - columns % 2, cast=cast)
    at, weight = ("place", "policy_level(weight, place)") if packed else ("weight", "*weight")
    loop = _SUMS[kind].format(size=columns, term=_TERMS[kind].format(weight=cast + weight), at=at)
    return ["uint32_t place = 0;"] * packed, loop


def _choose() -> str:
    return (
        "\nstatic inline int policy_choose(const float *observation)\n{\n"
        "    float score[POLICY_OUTPUTS];\n    int best = 0;\n    policy_act(observation, score);\n"
        "    for (int i = 1; i < POLICY_OUTPUTS; ++i)\n        best = score[i] > score[best] ? i : best;\n    return best;\n}\n"
    )


def _horner(name: str, factors: Any) -> str:
    """Return a polynomial's lines, the highest power first."""
    over = {"ODD": "square", "EXPONENT": "rest"}[name]
    more = "".join(f";\n        v = v * {over} + {_literal(factor)}" for factor in factors[1:])
    return _literal(factors[0]) + more


def _kind(step: np.float32 | None) -> str:
    return "float" if step is None else "int8_t"


def _ctype(array: np.ndarray) -> str:
    return _TYPES[array.dtype.str[1:]]


def _literal(number: Any) -> str:
    """Return a float's shortest decimal that every compiler reads back to the bit; the largest one for an infinite one."""
    limit = np.finfo(np.float32).max
    text = f"{np.clip(np.float32(number), -limit, limit):.9g}"
    return (text if {".", "e"} & set(text) else f"{text}.0") + "f"
