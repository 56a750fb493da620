"""Write the same graph for provision, ninja and make: generate.py DIR N.

N targets in five layers. Each copies one source of its own and depends on three outputs of the layer below; the recipe is `cp`.
"""
import os
import sys

LAYERS = 5


def targets(count):
    """(name, source, inputs) of every target, lowest layer first."""
    width = max(1, count // LAYERS)
    below = []
    number = 0
    for layer in range(LAYERS):
        size = width if layer < LAYERS - 1 else count - number
        names = []
        for place in range(size):
            name = f"t{number:06d}"
            number += 1
            needs = [below[(place + step * 7) % len(below)] for step in range(3)] if below else []
            yield name, f"src/{name}.txt", [f"out/{need}" for need in dict.fromkeys(needs)]
            names.append(name)
        below = names


def main():
    directory, count = sys.argv[1], int(sys.argv[2])
    os.makedirs(f"{directory}/src", exist_ok=True)
    os.makedirs(f"{directory}/out", exist_ok=True)
    with open(f"{directory}/provision.yaml", "w") as yaml, open(f"{directory}/build.ninja", "w") as ninja, \
            open(f"{directory}/Makefile", "w") as make:
        yaml.write("provision: 1\nname: bench\ntargets:\n")
        ninja.write("rule cp\n  command = cp $source $out\n")
        outputs, rules = [], []
        for name, source, inputs in targets(count):
            with open(f"{directory}/{source}", "w") as file:
                file.write(name + "\n")
            listed = ", ".join([source] + inputs)
            yaml.write(f"  {name}:\n    rule: command\n    command: [cp, {source}, out/{name}]\n    inputs: [{listed}]\n    outputs: [out/{name}]\n")
            ninja.write(f"build out/{name}: cp {source} {' '.join(inputs)}\n  source = {source}\n")
            rules.append(f"out/{name}: {source} {' '.join(inputs)}\n\t@cp {source} out/{name}\n")
            outputs.append(f"out/{name}")
        # Without its implicit rules make is an order of magnitude quicker here.
        make.write("MAKEFLAGS += -rR\n.SUFFIXES:\nall: " + " ".join(outputs) + "\n" + "".join(rules))


if __name__ == "__main__":
    main()
