#!/bin/sh -e
. /etc/os-release
echo "$ID $VERSION_ID" >/etc/project-release
