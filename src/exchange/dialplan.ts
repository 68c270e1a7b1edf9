import { headerSteps } from './invite-headers.js'
import { MEDIA_USER } from './media-server.js'

/** Context that rings a phone for a media socket. */
export const LEG_CONTEXT = 'mkondo-leg'
const INVITE_CONTEXT = 'mkondo-invite'
const ANSWERED_CONTEXT = 'mkondo-answered'

/** Name of the connection in `websocket_client.conf`. */
export const CONNECTION = 'mkondo'
/**
 * Maximum time in seconds until the gateway's first document has answered the call. The exchange waits 10 s for a
 * document.
 */
const ANSWER_S_MAX = 60

/** Headers of a rung human's INVITE: the call's SID, which identifies the handoff packet, and a note about the call. */
const CALL_HEADER = 'X-Mkondo-Call'
const NOTE_HEADER = 'X-Mkondo-Note'

interface DialplanOptions {
  /** Address of the exchange for Asterisk, such as `127.0.0.1:4020`. */
  readonly address: string
  /** Secret of the media sockets; null prints a placeholder. */
  readonly secret: string | null
  /** Headers of a caller's INVITE that are passed on. Default: none. */
  readonly headers?: readonly string[]
}

/**
 * Makes configuration for Asterisk, by its file. A number's dialplan needs one more line: `Goto(mkondo,${EXTEN},1)`.
 * @returns text by file name
 */
export function asteriskFiles({ address, secret, headers = [] }: DialplanOptions): Readonly<Record<string, string>> {
  const asks = (path: string, fields: string): string[] => [
    ' same => n,Set(CURLOPT(conntimeout)=2)',
    ' same => n,Set(CURLOPT(httptimeout)=4)',
    ` same => n,Set(MKONDO_AFTER=\${CURL(http://${address}/${path},leg=\${MKONDO_LEG}${fields})})`,
  ]
  // The values are encoded here, because `v()` does not encode them and an unencoded `+` in a query means a space.
  const filtered = (value: string): string => `\${URIENCODE(\${FILTER(+0-9A-Za-z,${value})})}`
  const leg = 'leg=${MKONDO_LEG}'
  const from = `from=${filtered('${CALLERID(num)}')}`
  const to = `to=${filtered('${EXTEN}')}`
  const { steps, values } = headerSteps(headers)
  return {
    'extensions.conf': lines([
      '; A call for the gateway. Lead numbers here: exten => 100,1,Goto(mkondo,${EXTEN},1)',
      '[mkondo]',
      'exten => _[+0-9a-zA-Z]!,1,Set(MKONDO_LEG=${UUID()})',
      ' same => n,Ringing()',
      // A trusted trunk sends the number even if the caller withholds it, so it is removed here.
      ' same => n,ExecIf($["${CALLERID(num-pres):0:6}"="prohib"]?Set(CALLERID(num)=))',
      ...steps,
      ` same => n,Dial(WebSocket/${CONNECTION}/${optionsOfLeg([leg, from, to, ...values], 'n')},${ANSWER_S_MAX},g)`,
      ...asks('after', ''),
      ' same => n,ExecIf($["${MKONDO_AFTER:0:7}"="hangup "]?Hangup(${MKONDO_AFTER:7}))',
      ' same => n,Goto(mkondo-fallback,${EXTEN},1)',
      '',
      '; Where a caller gets to if exchange or gateway is lost. Make it ring your desk.',
      '[mkondo-fallback]',
      'exten => _[+0-9a-zA-Z]!,1,Answer()',
      ' same => n,Playtones(425/500,0/500)',
      ' same => n,Wait(5)',
      ' same => n,Hangup(38)',
      '',
      '; The exchange rings a phone: this channel is its media socket, and ends with it.',
      `[${LEG_CONTEXT}]`,
      'exten => s,1,Set(CALLERID(num)=${MKONDO_FROM})',
      ` same => n,Dial(\${MKONDO_ENDPOINT},\${MKONDO_RING_S},b(${INVITE_CONTEXT}^s^1)U(${ANSWERED_CONTEXT}))`,
      ...asks('rung', '&status=${DIALSTATUS}&cause=${HANGUPCAUSE}'),
      ' same => n,Hangup()',
      '',
      `[${INVITE_CONTEXT}]`,
      'exten => s,1,GotoIf($[${LEN(${MKONDO_CALL})}=0]?done)',
      ` same => n,Set(PJSIP_HEADER(add,${CALL_HEADER})=\${MKONDO_CALL})`,
      ' same => n,GotoIf($[${LEN(${MKONDO_NOTE})}=0]?done)',
      ` same => n,Set(PJSIP_HEADER(add,${NOTE_HEADER})=\${MKONDO_NOTE})`,
      ' same => n(done),Return()',
      '',
      `[${ANSWERED_CONTEXT}]`,
      'exten => s,1,NoOp()',
      ...asks('rung', '&status=ANSWER'),
      ' same => n,Return()',
    ]),
    'websocket_client.conf': lines([
      `[${CONNECTION}]`,
      'type = websocket_client',
      'connection_type = per_call_config',
      `uri = ws://${address}/media`,
      'protocols = media',
      `username = ${MEDIA_USER}`,
      `password = ${secret ?? 'THE_SECRET_OF_EXCHANGE_SECRET'}`,
      'connection_timeout = 500',
      'reconnect_interval = 500',
      'reconnect_attempts = 2',
      'tls_enabled = no',
    ]),
  }
}

/**
 * Options of a media socket's channel.
 * @param values  parameters of the socket's URL, encoded
 * @param more  `n`: the socket decides when the call is answered
 */
export function optionsOfLeg(values: readonly string[], more = ''): string {
  return `c(slin16)f(json)${more}v(${values.join(',')})`
}

function lines(all: readonly string[]): string {
  return `${all.join('\n')}\n`
}
