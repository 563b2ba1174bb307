#!/bin/sh
# MustHerd as a pod: mustherd-pod muster, or mustherd-pod shepherd OPTIONS.
#
# Keys come as Secrets, whose folders Kubernetes leaves open to everybody in the pod; both parts take keys from folders
# alone that are theirs, so they are copied to memory first.
#
#   a muster:   MUSTHERD_NODE, its node's name: it is muster-$MUSTHERD_NODE; MUSTHERD_SHEPHERD, where to find that
#               /etc/mustherd/node/muster.toml  ranges and [linux], the file of the node's administrator
#               /etc/mustherd/own/key_secret, /etc/mustherd/shepherd/shepherd.key
#   a shepherd: /etc/mustherd/shepherd/shepherd.key and .key_secret, /etc/mustherd/accepted/NAME.key
set -eu
umask 077
part=$1
shift
made=/run/mustherd-pod
chmod 0700 "$made"
rm -rf "$made"/*
mkdir "$made/keys"
case $part in
muster)
    name=muster-$MUSTHERD_NODE
    cp /etc/mustherd/own/key_secret "$made/keys/$name.key_secret"
    cp /etc/mustherd/shepherd/shepherd.key "$made/keys"
    {
        printf 'muster = "%s"\nshepherd = "%s"\nkeys = "%s"\nstate = "/var/lib/mustherd/muster"\n' \
            "$name" "$MUSTHERD_SHEPHERD" "$made/keys"
        cat /etc/mustherd/node/muster.toml
    } > "$made/muster.toml"
    exec /opt/mustherd/bin/mustherd muster run --config "$made/muster.toml"
    ;;
shepherd)
    mkdir "$made/keys/accepted"
    cp /etc/mustherd/shepherd/shepherd.key /etc/mustherd/shepherd/shepherd.key_secret "$made/keys"
    cp /etc/mustherd/accepted/*.key "$made/keys/accepted"
    exec /opt/mustherd/bin/mustherd shepherd run --keys "$made/keys" "$@"
    ;;
*)
    echo "mustherd-pod: $part: muster or shepherd is needed" >&2
    exit 2
    ;;
esac
