/**
 * Scripted SIP phone: UDP, registered with a password, packets of 20 ms, RFC 4733 digits. It records when each packet
 * came and left, so it measures by its own clock.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type PhoneCodec, WIRE_CODECS, type WireCodec } from './wire-codecs.js'

/** Number of samples in 20 ms at 8 kHz. */
const FRAME = 160
const NOTHING = new Int16Array(0)
/** Number of samples in half a second at 8 kHz. */
const SILENCE_SAMPLES = 4000
/** Maximum time in ms until an answer; a phone rings for less. */
const ANSWER_MS_MAX = 90_000
/** Time in ms after which a request without a final answer is sent again. */
const SEND_AGAIN_MS = 1000
const LOOPBACK = '127.0.0.1'
const DIGITS_PAYLOAD = 101

/**
 * Behaviour of the phone when it rings. `sound-first`: it sends sound before it answers, as a trunk sends its ringing
 * tone.
 */
type Ringing = 'answer' | 'busy' | 'decline' | 'ring' | 'sound-first'

interface PhoneOptions {
  readonly server: number
  /** Address of the server and of the phone. Default: loopback. */
  readonly host?: string
  readonly user: string
  readonly password: string
  readonly codec?: PhoneCodec
  readonly onRing?: Ringing
  /** Network from the phone to the exchange; by default without loss and delay. */
  readonly network?: PhoneNetwork
}

/** Network conditions of packets that the phone sends. Drawn from a fixed seed, so that runs are equal. */
export interface PhoneNetwork {
  /** Share of lost packets, 0 to 1. */
  readonly loss: number
  /** Maximum delay in ms of each packet; packets may overtake one another. */
  readonly jitterMs: number
}

interface Message {
  readonly first: string
  readonly headers: ReadonlyMap<string, readonly string[]>
  readonly body: string
}

function parsed(bytes: Buffer): Message {
  const [head = '', body = ''] = bytes.toString().split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  const headers = new Map<string, string[]>()
  for (const line of lines) {
    const at = line.indexOf(':')
    const name = line.slice(0, at).toLowerCase()
    headers.set(name, [...(headers.get(name) ?? []), line.slice(at + 1).trim()])
  }
  return { first, headers, body }
}

const one = (message: Message, name: string): string => message.headers.get(name)?.[0] ?? ''
const token = (): string => randomBytes(6).toString('hex')
const md5 = (text: string): string => createHash('md5').update(text).digest('hex')

export class SipPhone {
  /** Calls that rang at this phone, oldest first. */
  readonly rang: SipCall[] = []
  onRing: Ringing
  readonly options: PhoneOptions
  /** Payload of 20 ms of silence, after the codec is negotiated. */
  readonly silence: Uint8Array
  readonly #socket: Socket
  readonly #waiting = new Map<string, (answer: Message) => void>()
  readonly #calls = new Map<string, SipCall>()
  readonly #invited = new Set<string>()
  #closed = false
  readonly #callId = token()
  /** Tag of the calls that rang at this phone. */
  readonly tag = token()
  #sequence = 1

  private constructor(options: PhoneOptions, socket: Socket) {
    this.options = options
    this.silence = WIRE_CODECS[options.codec ?? 'ulaw'].encode(new Int16Array(SILENCE_SAMPLES)).at(-1) as Uint8Array
    this.onRing = options.onRing ?? 'answer'
    this.#socket = socket
    socket.on('message', (bytes, from) => void this.#receive(parsed(bytes), from))
  }

  /** Registers. @throws Error if the server refuses */
  static async start(options: PhoneOptions): Promise<SipPhone> {
    const phone = new SipPhone(options, await bound(options.host))
    const { status } = await phone.request('REGISTER', `sip:${phone.host}`, {
      callId: phone.#callId,
      tag: token(),
      to: phone.uri,
    })
    if (status !== 200) {
      phone.close()
      throw new Error(`REGISTER was answered with ${status}`)
    }
    return phone
  }

  get host(): string {
    return this.options.host ?? LOOPBACK
  }

  get uri(): string {
    return `sip:${this.options.user}@${this.host}`
  }

  get contact(): string {
    return `<sip:${this.options.user}@${this.host}:${this.#socket.address().port}>`
  }

  /** Calls a number. The call may not be answered yet. @param headers  additional headers of the INVITE */
  async call(number: string, headers: readonly string[] = []): Promise<SipCall> {
    const call = new SipCall(this, token(), await bound(this.host))
    this.#calls.set(call.callId, call)
    void call.invite(`sip:${number}@${this.host}:${this.options.server}`, headers)
    return call
  }

  close(): void {
    this.#closed = true
    for (const call of this.#calls.values()) call.over('the phone was closed')
    this.#socket.close()
  }

  send(text: string, port = this.options.server): void {
    if (!this.#closed) this.#socket.send(text, port, this.host)
  }

  head(
    method: string,
    target: string,
    sequence: number,
    dialog: Dialog,
    more: readonly string[],
    body: string,
  ): string {
    const via = `SIP/2.0/UDP ${this.host}:${this.#socket.address().port};branch=z9hG4bK${token()};rport`
    return [
      `${method} ${target} SIP/2.0`,
      ...[
        `Via: ${via}`,
        'Max-Forwards: 70',
        `From: <${dialog.from ?? this.uri}>;tag=${dialog.tag}`,
        `To: <${dialog.to}>${dialog.toTag ?? ''}`,
      ],
      ...[`Call-ID: ${dialog.callId}`, `CSeq: ${sequence} ${method}`, `Contact: ${this.contact}`, ...more],
      ...(body === '' ? [] : ['Content-Type: application/sdp']),
      `Content-Length: ${body.length}`,
      '',
      body,
    ].join('\r\n')
  }

  /** Sends a request, with the password if the server asks for it, and waits for its final answer. */
  async request(
    method: string,
    target: string,
    dialog: Dialog,
    body = '',
    headers: readonly string[] = [],
  ): Promise<{ readonly status: number; readonly answer: Message; readonly sequence: number }> {
    const more = method === 'REGISTER' ? ['Expires: 600'] : headers
    for (let proof: string[] = []; ;) {
      const sequence = this.#sequence++
      const came = new Promise<Message>((resolve) => this.#waiting.set(`${dialog.callId} ${sequence}`, resolve))
      const request = this.head(method, target, sequence, dialog, [...more, ...proof], body)
      this.send(request)
      // UDP sometimes loses a packet; a receiver that already has the request recognises the copy.
      const again = setInterval(() => this.send(request), SEND_AGAIN_MS).unref()
      const answer = await Promise.race([came, sleep(ANSWER_MS_MAX, null, { ref: false })])
      clearInterval(again)
      if (answer === null) throw new Error(`no answer to ${method}`)
      const status = Number(answer.first.split(' ')[1])
      if (status !== 401 || proof.length > 0) return { status, answer, sequence }
      if (method === 'INVITE') this.acknowledge(target, sequence, dialog, answer)
      proof = [this.#proof(method, target, one(answer, 'www-authenticate'))]
    }
  }

  acknowledge(target: string, sequence: number, dialog: Dialog, answer: Message): void {
    const to = /;tag=[^;>]+/.exec(one(answer, 'to'))?.[0] ?? ''
    this.send(this.head('ACK', target, sequence, { ...dialog, toTag: to }, [], ''))
  }

  #proof(method: string, target: string, challenge: string): string {
    const value = (name: string): string => new RegExp(`${name}="?([^",]+)`).exec(challenge)?.[1] ?? ''
    const { user, password } = this.options
    const [realm, nonce, count, own] = [value('realm'), value('nonce'), '00000001', token()]
    const response = md5(
      [md5(`${user}:${realm}:${password}`), nonce, count, own, 'auth', md5(`${method}:${target}`)].join(':'),
    )
    return `Authorization: Digest username="${user}", realm="${realm}", nonce="${nonce}", uri="${target}", response="${response}", algorithm=MD5, qop=auth, nc=${count}, cnonce="${own}"${
      value('opaque') === '' ? '' : `, opaque="${value('opaque')}"`
    }`
  }

  async #receive(message: Message, from: RemoteInfo): Promise<void> {
    const callId = one(message, 'call-id')
    if (message.first.startsWith('SIP/2.0')) {
      const [sequence = '', method] = one(message, 'cseq').split(' ')
      const status = Number(message.first.split(' ')[1])
      if (status < 200) return this.#calls.get(callId)?.progressed(status)
      if (method === 'CANCEL') return
      const key = `${callId} ${sequence}`
      this.#waiting.get(key)?.(message)
      this.#waiting.delete(key)
      return
    }
    const method = message.first.split(' ')[0]
    const known = this.#calls.get(callId)
    if (method === 'ACK') return
    if (method === 'INVITE' && !one(message, 'to').includes('tag=')) {
      // On a busy machine the INVITE is repeated before it is answered.
      if (this.#invited.has(callId)) return
      this.#invited.add(callId)
      return this.#ring(message, from)
    }
    if (method === 'BYE') known?.over('the other side hung up')
    if (method === 'CANCEL') known?.over('cancelled')
    this.reply(message, from.port, 200, 'OK', method === 'INVITE' ? (known?.offer() ?? '') : '')
    if (method === 'CANCEL' && known?.asked !== undefined)
      this.reply(known.asked.message, from.port, 487, 'Request Terminated')
  }

  async #ring(message: Message, from: RemoteInfo): Promise<void> {
    const call = new SipCall(this, one(message, 'call-id'), await bound(this.host), { message, port: from.port })
    this.#calls.set(call.callId, call)
    this.rang.push(call)
    if (this.onRing === 'busy') return this.reply(message, from.port, 486, 'Busy Here')
    if (this.onRing === 'decline') return this.reply(message, from.port, 603, 'Decline')
    this.reply(message, from.port, 180, 'Ringing')
    if (this.onRing === 'sound-first') call.soundFirst()
    if (this.onRing === 'answer') call.answer()
  }

  reply(request: Message, port: number, status: number, reason: string, body = ''): void {
    const to = one(request, 'to')
    const text = [
      `SIP/2.0 ${status} ${reason}`,
      ...(request.headers.get('via') ?? []).map((via) => `Via: ${via}`),
      ...[`From: ${one(request, 'from')}`, `To: ${to}${to.includes('tag=') ? '' : `;tag=${this.tag}`}`],
      ...[`Call-ID: ${one(request, 'call-id')}`, `CSeq: ${one(request, 'cseq')}`, `Contact: ${this.contact}`],
      ...(body === '' ? [] : ['Content-Type: application/sdp']),
      `Content-Length: ${body.length}`,
      '',
      body,
    ]
    this.send(text.join('\r\n'), port)
  }
}

interface Dialog {
  readonly callId: string
  readonly tag: string
  readonly to: string
  readonly toTag?: string
  /** Caller's name, if it is not the account's. */
  readonly from?: string
}

interface Asked {
  readonly message: Message
  readonly port: number
}

/** Received packet. */
interface Packet {
  readonly atMs: number
  readonly sequence: number
  readonly payload: Uint8Array
  /** Samples; empty if the codec cannot decode single packets. */
  readonly pcm: Int16Array
}

export class SipCall {
  readonly callId: string
  /** INVITE that rang at this phone, and its sender. */
  readonly asked: Asked | undefined
  /** Time of the answer, by `performance.now()`; null before the answer. */
  answeredMs: number | null = null
  /** Reason why the call ended; null while it lasts. */
  ended: string | null = null
  /** Received packets, in their order of arrival. */
  readonly packets: Packet[] = []
  /** Send times in ms of the packets with speech. */
  readonly sentMs: number[] = []
  /** Provisional answers that were received. */
  readonly progress: number[] = []
  readonly #phone: SipPhone
  readonly #rtp: Socket
  readonly #codec: WireCodec
  /** Payload of 20 ms of silence. */
  readonly #silence: Uint8Array
  #dialog: Dialog | null = null
  #remote = ''
  #inviteSequence = 0
  #queue: Uint8Array[] = []
  #digits: { readonly digit: string; readonly ms: number; readonly gapMs: number }[] = []
  #sending: NodeJS.Timeout | null = null
  isMuted = false

  constructor(phone: SipPhone, callId: string, rtp: Socket, asked?: Asked) {
    this.#phone = phone
    this.callId = callId
    this.#rtp = rtp
    this.#codec = WIRE_CODECS[phone.options.codec ?? 'ulaw']
    this.#silence = phone.silence
    this.asked = asked
    rtp.on('message', (bytes) => this.#onPacket(bytes))
  }

  /** @param direction  `sendonly` puts the other phone on hold */
  offer(direction: 'sendrecv' | 'sendonly' = 'sendrecv'): string {
    const { payload, rtpmap } = this.#codec
    return [
      ...['v=0', `o=- 1 1 IN IP4 ${this.#phone.host}`, 's=-', `c=IN IP4 ${this.#phone.host}`, 't=0 0'],
      `m=audio ${this.#rtp.address().port} RTP/AVP ${payload} ${DIGITS_PAYLOAD}`,
      ...[`a=rtpmap:${payload} ${rtpmap}`, `a=rtpmap:${DIGITS_PAYLOAD} telephone-event/8000`],
      ...[`a=fmtp:${DIGITS_PAYLOAD} 0-16`, 'a=ptime:20', `a=${direction}`, ''],
    ].join('\r\n')
  }

  async invite(target: string, headers: readonly string[]): Promise<void> {
    this.#remote = target
    const dialog = { callId: this.callId, tag: token(), to: target }
    this.#dialog = dialog
    const { status, answer, sequence } = await this.#phone.request('INVITE', target, dialog, this.offer(), headers)
    this.#inviteSequence = sequence
    this.#phone.acknowledge(target, sequence, dialog, answer)
    if (status >= 300) return this.over(`refused with ${status}`)
    if (this.ended !== null) return
    this.#dialog = { ...dialog, toTag: /;tag=[^;>]+/.exec(one(answer, 'to'))?.[0] ?? '' }
    this.#remote = /<([^>]+)>/.exec(one(answer, 'contact'))?.[1] ?? target
    this.answeredMs = performance.now()
    this.#start(answer.body)
  }

  /** Header of the INVITE that rang at this phone; '' if it has no such header. */
  header(name: string): string {
    return this.asked === undefined ? '' : one(this.asked.message, name)
  }

  /** Sends sound to the caller without answering the call. */
  soundFirst(): void {
    const { message, port } = this.asked as Asked
    this.#phone.reply(message, port, 183, 'Session Progress', this.offer())
    this.#start(message.body)
  }

  progressed(status: number): void {
    this.progress.push(status)
  }

  /** Answers a call that rings at this phone. */
  answer(): void {
    const { message: asked, port } = this.asked as Asked
    this.answeredMs = performance.now()
    this.#phone.reply(asked, port, 200, 'OK', this.offer())
    this.#remote = /<([^>]+)>/.exec(one(asked, 'contact'))?.[1] ?? ''
    const to = /<([^>]+)>/.exec(one(asked, 'from'))?.[1] ?? ''
    const toTag = /;tag=[^;>]+/.exec(one(asked, 'from'))?.[0] ?? ''
    this.#dialog = {
      callId: this.callId,
      tag: this.#phone.tag,
      to,
      toTag,
      from: /<([^>]+)>/.exec(one(asked, 'to'))?.[1] ?? '',
    }
    this.#start(asked.body)
  }

  /** Plays sound, after the sound that is playing. PCM at 8 kHz. */
  say(pcm: Int16Array): void {
    this.play(this.#codec.encode(pcm))
  }

  /** Sends payloads, after the sound that is playing. */
  play(payloads: readonly Uint8Array[]): void {
    this.#queue.push(...payloads)
  }

  /** True while sound is playing. */
  get isSpeaking(): boolean {
    return this.#queue.length > 0
  }

  /** Presses DTMF keys by RFC 4733. */
  press(digits: string, ms = 100, gapMs = 100): void {
    for (const digit of digits) this.#digits.push({ digit, ms, gapMs })
  }

  /**
   * Puts the other phone on hold, or ends the hold, with a new INVITE within the call. @throws Error if it is refused
   */
  async hold(isOn: boolean): Promise<void> {
    const dialog = this.#dialog
    if (dialog === null) throw new Error('there is no call to hold')
    const offer = this.offer(isOn ? 'sendonly' : 'sendrecv')
    const { status, answer, sequence } = await this.#phone.request('INVITE', this.#remote, dialog, offer)
    this.#phone.acknowledge(this.#remote, sequence, dialog, answer)
    if (status !== 200) throw new Error(`the new INVITE was answered with ${status}`)
    this.isMuted = isOn
  }

  hangUp(): void {
    if (this.ended !== null || this.#dialog === null) return
    if (this.answeredMs === null) {
      this.#phone.send(this.#phone.head('CANCEL', this.#remote, this.#inviteSequence, this.#dialog, [], ''))
    } else {
      void this.#phone.request('BYE', this.#remote, this.#dialog)
    }
    this.over('we hung up')
  }

  over(why: string): void {
    if (this.ended !== null) return
    this.ended = why
    if (this.#sending !== null) clearInterval(this.#sending)
    this.#rtp.close()
  }

  #start(sdp: string): void {
    if (this.#sending !== null) return
    const port = Number(/m=audio (\d+)/.exec(sdp)?.[1])
    const host = /c=IN IP4 (\S+)/.exec(sdp)?.[1] ?? this.#phone.host
    const startMs = performance.now()
    const ssrc = randomBytes(4)
    const { loss, jitterMs } = this.#phone.options.network ?? { loss: 0, jitterMs: 0 }
    let seed = 1
    // Random generator of Park and Miller.
    const drawn = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647
    let frames = 0
    let digitFrames = 0
    let digitAt = 0
    const packet = (payload: number, timestamp: number, body: Uint8Array): void => {
      const head = Buffer.alloc(12)
      head[0] = 0x80
      head[1] = payload
      head.writeUInt16BE(frames & 0xffff, 2)
      head.writeUInt32BE(timestamp >>> 0, 4)
      ssrc.copy(head, 8)
      if (this.isMuted || drawn() < loss) return
      const bytes = Buffer.concat([head, body])
      const send = (): void => {
        if (this.ended === null) this.#rtp.send(bytes, port, host)
      }
      if (jitterMs === 0) send()
      else setTimeout(send, drawn() * jitterMs)
    }
    this.#sending = setInterval(() => {
      while (frames * 20 <= performance.now() - startMs) {
        const { payload, ticks } = this.#codec
        const timestamp = (frames + 1) * ticks
        const key = this.#digits[0]
        if (key === undefined) packet(payload, timestamp, this.#frame())
        else {
          if (digitFrames === 0) digitAt = timestamp
          const held = Math.round(key.ms / 20)
          if (digitFrames < held + 2) {
            const body = Buffer.from(['0123456789*#'.indexOf(key.digit), (digitFrames >= held ? 0x80 : 0) | 10, 0, 0])
            body.writeUInt16BE(Math.min(digitFrames + 1, held) * ticks, 2)
            packet(DIGITS_PAYLOAD | (digitFrames === 0 ? 0x80 : 0), digitAt, body)
          } else packet(payload, timestamp, this.#frame())
          if (++digitFrames >= held + 2 + Math.round(key.gapMs / 20)) {
            this.#digits.shift()
            digitFrames = 0
          }
        }
        frames++
      }
    }, 5)
  }

  /** Next 20 ms of the sound to play. */
  #frame(): Uint8Array {
    const next = this.#queue.shift()
    if (next !== undefined) this.sentMs.push(performance.now())
    return next ?? this.#silence
  }

  /** Packets with their sound. Packets of a codec that is not plain are decoded together here, which takes a while. */
  heard(): readonly Packet[] {
    if (this.#codec.isPlain) return this.packets
    const pcm = this.#codec.decode(this.packets.map(({ payload }) => payload))
    return this.packets.map((packet, i) => ({ ...packet, pcm: pcm.subarray(i * FRAME, (i + 1) * FRAME) }))
  }

  #onPacket(bytes: Buffer): void {
    if (((bytes[1] as number) & 0x7f) !== this.#codec.payload) return
    const payload = bytes.subarray(12)
    const pcm = this.#codec.isPlain ? this.#codec.decode([payload]) : NOTHING
    this.packets.push({ atMs: performance.now(), sequence: bytes.readUInt16BE(2), payload, pcm })
  }
}

async function bound(host = LOOPBACK): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.on('error', () => undefined)
  socket.bind(0, host)
  await once(socket, 'listening')
  return socket
}
