{ # What taskdiag gives to `sh` where the worker or the API runs: it picks a Python, and becomes it.
# The kernel is to end this and not the worker, should memory become short.
{ echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null
room() {
  { read -r most <"$1" && read -r used <"$2"; } 2>/dev/null || return 0
  case $most in '' | *[!0-9]*) return 0 ;; esac
  [ ${#most} -lt 17 ] || return 0
  while read -r name value rest; do
    [ "$name" = inactive_file ] && used=$((used - value))
  done 2>/dev/null <"$3"
  [ $((most - used)) -lt 33554432 ] || return 0
  echo "{\"refused\": \"memory\", \"room\": $((most - used))}"
  exit 0
}
room /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory.stat
folder=/sys/fs/cgroup/memory
room $folder/memory.limit_in_bytes $folder/memory.usage_in_bytes $folder/memory.stat
python=
# The Python of a worker or an API of the same user; not what somebody else runs under such a name.
for file in $(grep -ls -e dramatiq -e celery -e uvicorn -e gunicorn /proc/[0-9]*/cmdline 2>/dev/null | head -n 50); do
  own=${file%/cmdline}
  [ -O "$own" ] || continue
  word=$(tr '\000' '\n' 2>/dev/null <"$file" | head -n 1)
  case $word in
    /*python*) [ -x "$word" ] && [ "$own/exe" -ef "$word" ] && python=$word && break ;;
  esac
done
[ -n "$python" ] || python=$(command -v python3 || command -v python)
[ -n "$python" ] && exec "$python" -I -S -c 'BOOT'
echo '{"refused": "python"}'
exit 0
}
