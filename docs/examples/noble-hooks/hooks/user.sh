#!/bin/sh -e
useradd --create-home --uid 1500 --gid 1500 "$BUILDER"
install -d -o "$BUILDER" -g builders /work
