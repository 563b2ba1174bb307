# RECORD [ARGUMENT...]: have these on every kernel's command line, by grubby, and none that RECORD says were put there before.
# What somebody else has put there is neither recorded nor taken off. Says "changed" where it changed anything.
# The shell reads this text from stdin, so that grubby gets none of it.
set -eu
record=$1
shift
there=$(grubby --info=ALL </dev/null | sed -n 's/^args="\(.*\)"$/\1/p')
# An argument counts as there where every kernel has it.
on_all() { ! printf '%s\n' "$there" | sed 's/.*/ & /' | grep -qvF -- " $1 "; }
if [ -e "$record" ]; then
  while read -r old; do
    case " $* " in *" $old "*) continue ;; esac
    grubby --update-kernel=ALL --remove-args="$old" </dev/null
    echo "changed: without $old"
  done < "$record"
fi
mkdir -p "$(dirname "$record")"
touch "$record"
: > "$record.new"
for argument in "$@"; do
  if grep -qxF -- "$argument" "$record" || ! on_all "$argument"; then
    echo "$argument" >> "$record.new"
  fi
done
# What is about to be put there is written down first.
sort -u "$record" "$record.new" > "$record.both"
mv "$record.both" "$record"
for argument in "$@"; do
  on_all "$argument" && continue
  grubby --update-kernel=ALL --args="$argument" </dev/null
  echo "changed: with $argument"
done
mv "$record.new" "$record"
[ -s "$record" ] || rm -f "$record"
