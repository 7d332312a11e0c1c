#!/usr/bin/env bash
# Runs the Asterisk that install.sh unpacked: one process on loopback, its conference rooms, and the faults of both.
#
#   asterisk.sh start | stop | restart         stop says BYE to every call
#   asterisk.sh kill                           SIGKILL: no BYE, the sockets just close
#   asterisk.sh freeze | thaw                  SIGSTOP, SIGCONT
#   asterisk.sh health | status | env          health: exit 0 when it can take a call
#   asterisk.sh guard                          kills it when standard input ends (so no test leaves one behind)
#   asterisk.sh cli 'ANY ASTERISK COMMAND'
#   asterisk.sh rooms | list ROOM | end ROOM | lock ROOM | unlock ROOM
#   asterisk.sh mute|unmute|kick ROOM CHANNEL|all | hangup CHANNEL
#   asterisk.sh record ROOM FILE.wav | unrecord ROOM
#   asterisk.sh call-out SIP-URI ROOM [PROFILE]       the mixer calls
#   asterisk.sh play-tone ROOM HZ SECONDS             a tone joins the room, in telephone quality
#   asterisk.sh play-file ROOM FILE.sln48             raw mono 16 bit 48 kHz joins the room
#   asterisk.sh trace on|off | pcap FILE              SIP messages into log/full.log, or into a pcap
#
# Two at once need two run folders and two sets of ports; nothing else is shared:
#   AST_RUN (target/lab/run/asterisk)  AST_BIND (127.0.0.1)  AST_SIP_PORT (5080, UDP and TCP)  AST_TLS_PORT (5081)
#   AST_WS_PORT (5088)  AST_WSS_PORT (5089)  AST_AMI_PORT (5038)  AST_RTP_LOW, AST_RTP_HIGH (20000-20399)
#   AST_SIP_SECRET (mixpass)  AST_AMI_SECRET (amipass)  LAB_DIR (target/lab)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab=${LAB_DIR:-$here/../../../target/lab}
run=$(realpath -m "${AST_RUN:-$lab/run/asterisk}")
BIND=${AST_BIND:-127.0.0.1}
SIP_PORT=${AST_SIP_PORT:-5080} TLS_PORT=${AST_TLS_PORT:-5081} WS_PORT=${AST_WS_PORT:-5088} WSS_PORT=${AST_WSS_PORT:-5089}
AMI_PORT=${AST_AMI_PORT:-5038} RTP_LOW=${AST_RTP_LOW:-20000} RTP_HIGH=${AST_RTP_HIGH:-20399}
SIP_SECRET=${AST_SIP_SECRET:-mixpass} AMI_SECRET=${AST_AMI_SECRET:-amipass}

die() { echo "asterisk.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2; }

main() {
  [ $# -gt 0 ] || usage
  [ -f "$lab/asterisk/current/env.sh" ] || die "run install.sh first"
  . "$lab/asterisk/current/env.sh"
  case $1 in
    start) start ;;
    stop) stop ;;
    restart) stop && start ;;
    kill) crash ;;
    freeze) kill -STOP "$(pid)" ;;
    thaw) kill -CONT "$(pid)" ;;
    # The signals that end the process it guards reach it, too.
    guard) trap '' INT TERM HUP; cat > /dev/null; crash || true ;;
    health) health ;;
    status) echo "pid $(pid)"; cli 'core show uptime'; cli 'core show channels concise'; cli 'confbridge list' ;;
    env)
      printf '%s\n' "sip:$BIND:$SIP_PORT" "sips:$BIND:$TLS_PORT" "ws://$BIND:$WS_PORT/ws" "wss://$BIND:$WSS_PORT/ws" \
        "ami $BIND:$AMI_PORT" "ca $run/tls/ca.crt" "log $run/log/full.log"
      ;;
    cli) cli "$2" ;;
    rooms) cli 'confbridge list' ;;
    list) cli "confbridge list $2" ;;
    mute | unmute | kick) cli "confbridge $1 $2 $3" ;;
    end) cli "confbridge kick $2 all" ;;
    lock | unlock) cli "confbridge $1 $2" ;;
    hangup) cli "channel request hangup $2" ;;
    record) cli "confbridge record start $2 $(realpath -m "$3")" ;;
    unrecord) cli "confbridge record stop $2" ;;
    call-out) cli "channel originate PJSIP/${4:-anonymous}/$2 extension $3@audiomixer" ;;
    play-tone) cli "channel originate Local/$2@audiomixer/n extension $3*$4@feeder" ;;
    play-file) cp "$3" "$run/spool/tmp/feed.${3##*.}" && cli "channel originate Local/$2@audiomixer/n extension playfeed@feeder" ;;
    trace) cli "pjsip set logger ${2:-on}" ;;
    pcap) cli "pjsip set logger pcap $(realpath -m "$2")" && cli 'pjsip set logger on' ;;
    *) usage ;;
  esac
}

# ------------------------------------------------------------ the process

asterisk() { "$LOADER" --library-path "$LIBS" "$ROOT/usr/sbin/asterisk" -C "$run/etc/asterisk.conf" "$@"; }
cli() { asterisk -rx "$1" | sed 's/\x1b\[[0-9;]*[A-Za-z]//g'; }

# The pid file is only believed while that process has our configuration: pids are used again.
alive() {
  local p
  p=$(cat "$run/pid" 2>/dev/null) && tr '\0' ' ' 2>/dev/null < "/proc/$p/cmdline" | grep -qF "$run/etc/asterisk.conf"
}
pid() { alive || die "not running"; cat "$run/pid"; }

start() {
  if alive; then echo "already running, pid $(pid)"; return; fi
  ports_free
  configure
  # A session of its own: Ctrl-C at the terminal is for the test, which then ends the call properly.
  # A mixer that is served late would be heard as the endpoint's fault.
  local pace=()
  if chrt --fifo 10 true 2> /dev/null; then pace=(chrt --fifo 10); fi
  setsid "${pace[@]}" "$LOADER" --library-path "$LIBS" "$ROOT/usr/sbin/asterisk" -C "$run/etc/asterisk.conf" -f -n \
    < /dev/null > "$run/log/console.log" 2>&1 9>&- &
  echo $! > "$run/pid"
  local _
  for _ in $(seq 1 150); do
    if [ -S "$run/run/asterisk.ctl" ] && health > /dev/null 2>&1; then echo "up, pid $(pid), sip:$BIND:$SIP_PORT"; return; fi
    kill -0 "$!" 2>/dev/null || { tail -n 20 "$run/log/console.log" >&2; die "died at start"; }
    sleep 0.1
  done
  health >&2 || true
  tail -n 20 "$run/log/messages.log" >&2
  crash
  die "not healthy within 15 s"
}

stop() {
  alive || { echo "not running"; return 0; }
  local p _
  p=$(pid)
  kill -CONT "$p"
  cli 'core stop now' > /dev/null 2>&1 || kill "$p" 2>/dev/null || true
  for _ in $(seq 1 50); do
    alive || { rm -f "$run/pid"; echo stopped; return 0; }
    sleep 0.1
  done
  crash
}

crash() {
  local p _
  p=$(pid)
  kill -KILL "$p"
  for _ in $(seq 1 50); do alive || break; sleep 0.02; done
  rm -f "$run/pid" "$run/run/asterisk.ctl"
  echo killed
}

# It can take a call: process, command line, codec, conference, and an answer on the wire.
health() {
  alive || { echo "no process"; return 1; }
  cli 'core waitfullybooted' 2>/dev/null | grep -q 'fully booted' || { echo "not booted"; return 1; }
  cli 'core show translation paths opus' 2>/dev/null | grep -q 'To slin' || { echo "no Opus transcoder"; return 1; }
  cli 'module show like app_confbridge' | grep -q Running || { echo "no ConfBridge"; return 1; }
  answers_options || { echo "no answer to OPTIONS"; return 1; }
}

# One OPTIONS over UDP. `rport` (RFC 3581) brings the answer back to a port that bash cannot tell us.
answers_options() {
  local id=$$-$RANDOM answer _
  exec 8<> "/dev/udp/$BIND/$SIP_PORT" || return 1
  for _ in 1 2 3; do
    printf '%s\r\n' "OPTIONS sip:echo@$BIND:$SIP_PORT SIP/2.0" "Via: SIP/2.0/UDP $BIND:9;branch=z9hG4bK$id;rport" \
      "Max-Forwards: 70" "From: <sip:plain@$BIND>;tag=$id" "To: <sip:echo@$BIND:$SIP_PORT>" "Call-ID: $id@$BIND" \
      "CSeq: 1 OPTIONS" "Contact: <sip:plain@$BIND:9>" "Content-Length: 0" "" | dd bs=4096 status=none >&8 2>/dev/null || true
    answer=$(timeout 1 dd bs=4096 count=1 status=none <&8 2>/dev/null | head -n 1) || true
    case $answer in 'SIP/2.0 '*) echo "up: ${answer%$'\r'}"; exec 8>&-; return 0 ;; esac
  done
  exec 8>&-
  return 1
}

# Asterisk only logs that a port is taken and runs on without it, and then another process would answer for it.
ports_free() {
  local port hex
  for port in "$SIP_PORT" "$TLS_PORT" "$WS_PORT" "$WSS_PORT" "$AMI_PORT"; do
    hex=$(printf '%04X' "$port")
    ! grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F:]+ 0A" /proc/net/tcp /proc/net/tcp6 || die "tcp port $port is taken"
  done
  hex=$(printf '%04X' "$SIP_PORT")
  ! grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex " /proc/net/udp /proc/net/udp6 || die "udp port $SIP_PORT is taken"
}

# ------------------------------------------------------------ the configuration

configure() {
  [ ${#run} -le 80 ] || die "the path of the run folder is too long for a control socket: $run"
  mkdir -p "$run"/{etc,lib/agi-bin,lib/keys,spool/monitor,spool/tmp,run,log,tls}
  [ -s "$run/tls/dtls.pem" ] || certificates
  local address ice_map identify='' file out name module
  address=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m 1 -E '^[0-9]+\.' || true)
  ice_map=${address:+$address => $BIND}
  ! grep -q match_request_uri "$MODULES/res_pjsip_endpoint_identifier_ip.so" || identify=request_uri,
  for file in "$here"/conf/*.in; do
    out=$run/etc/$(basename "${file%.in}")
    sed -e "s|@RUN@|$run|g; s|@MODULES@|$MODULES|g; s|@DATA@|$ROOT/usr/share/asterisk|g; s|@BIND@|$BIND|g" \
      -e "s|@SIP_PORT@|$SIP_PORT|g; s|@TLS_PORT@|$TLS_PORT|g; s|@WS_PORT@|$WS_PORT|g; s|@WSS_PORT@|$WSS_PORT|g" \
      -e "s|@AMI_PORT@|$AMI_PORT|g; s|@RTP_LOW@|$RTP_LOW|g; s|@RTP_HIGH@|$RTP_HIGH|g" \
      -e "s|@SIP_SECRET@|$SIP_SECRET|g; s|@AMI_SECRET@|$AMI_SECRET|g" \
      -e "s|@IDENTIFY_BY_URI@|$identify|g; s|@ICE_MAP@|${ice_map:-; no address but loopback here: no ICE}|g" "$file" > "$out"
    ! grep -n '@[A-Z_][A-Z_]*@' "$out" || die "nothing to put there in $out"
  done
  # sip:ROOM@host;profile=NAME
  if [ -n "$identify" ]; then
    for name in $(sed -n 's/^\[\([a-z]*\)\](strict)$/\1/p' "$run/etc/pjsip.conf"); do
      printf '\n[by-uri-%s]\ntype = identify\nendpoint = %s\nmatch_request_uri = /profile=%s([^a-z0-9]|$)/\n' "$name" "$name" "$name"
    done >> "$run/etc/pjsip.conf"
  fi
  # What an older Asterisk does not have would only be a line in its log; the log is to be clean.
  for module in $(sed -n 's/^load=//p' "$run/etc/modules.conf"); do
    [ -f "$MODULES/$module" ] || sed -i "/^load=$module\$/d" "$run/etc/modules.conf"
  done
  # Files it complains about when they are not there.
  for name in acl cdr cel features ccss udptl codecs dnsmgr enum sorcery pjproject statsd stasis geolocation musiconhold; do
    : > "$run/etc/$name.conf"
  done
  # One country, because Playtones wants one.
  printf '%s\n' '[general]' 'country = us' '[us]' 'description = any' 'ringcadence = 2000,4000' 'dial = 350+440' \
    'busy = 480+620/500,0/500' 'ring = 440+480/2000,0/4000' 'congestion = 480+620/250,0/250' > "$run/etc/indications.conf"
}

certificates() (
  cd "$run/tls" && umask 077
  command -v openssl > /dev/null || die "openssl is needed"
  ask() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "$@" 2>/dev/null; }
  issue() { ask -x509 -days 3650 "$@"; }
  issue -subj '/CN=lab CA' -keyout ca.key -out ca.crt
  # Strict clients take no CA's certificate for a server's.
  ask -subj /CN=localhost -keyout server.key -out server.csr
  printf '%s\n' 'basicConstraints=CA:FALSE' 'subjectAltName=DNS:localhost,IP:127.0.0.1' > server.ext
  openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -set_serial 1 -days 3650 -extfile server.ext -out server.crt 2>/dev/null
  issue -subj /CN=audiomixer -keyout dtls.key -out dtls.crt
  cat dtls.key dtls.crt > dtls.pem
)

main "$@"
