import { createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import { Failure, Keyspace, Status } from './keyspace.js'
import type { Reply } from './keyspace.js'
import type { Process, VirtualTime } from './virtual-time.js'

const require = createRequire(import.meta.url)
const net = require('node:net') as { createConnection: unknown }
const slotOf = require('cluster-key-slot') as (key: string) => number

const SLOTS = 16_384
/** Ports of its servers: one, or the two of a cluster. */
const PORTS = [6379, 6380] as const
const HOST = '10.0.0.1'

type AnswerFault = 'answer lost' | 'answered late' | null

/**
 * One Redis for all nodes, at the other end of the sockets of the real client: a server, or a cluster of two that share the
 * slots. What goes wrong with it is up to whoever makes it.
 */
export class ModelRedis {
  readonly #time: VirtualTime
  readonly #cluster: boolean
  /** Fate of the answer to a command that was carried out. */
  readonly #fault: () => AnswerFault
  readonly #log: (line: () => string) => void
  readonly #sockets = new Set<ModelSocket>()
  #keyspace: Keyspace
  /** Content when it comes back. */
  #waiting: Keyspace | null = null
  /** `refuses`: nothing listens. `silent`: the machine is gone, and nobody says so. */
  #is: 'up' | 'refuses' | 'silent' = 'up'
  #stillUntilMs = 0
  /** The slots below are those of the first server. */
  #border = SLOTS / 2

  constructor(
    time: VirtualTime,
    {
      cluster,
      fault,
      log,
    }: {
      readonly cluster: boolean
      readonly fault: () => AnswerFault
      readonly log: (line: () => string) => void
    },
  ) {
    this.#time = time
    this.#cluster = cluster
    this.#fault = fault
    this.#log = log
    this.#keyspace = new Keyspace(time.wallClock)
  }

  get url(): string {
    return this.#cluster
      ? `redis+cluster://${PORTS.map((port) => `${HOST}:${port}`).join(',')}`
      : `redis://${HOST}:${PORTS[0]}`
  }

  /** Node's sockets lead here. @returns a function that ends that */
  install(): () => void {
    const before = net.createConnection
    net.createConnection = ({ port = 0 }: { readonly port?: number }) => this.connect(port)
    return () => {
      net.createConnection = before
    }
  }

  connect(port: number): ModelSocket {
    const socket = new ModelSocket(this, this.#time, port)
    this.#sockets.add(socket)
    socket.process.connects = true
    const delayMs = socket.delayMs()
    if (this.#is === 'up') this.#time.after(delayMs, socket.process, () => socket.opened())
    else if (this.#is === 'refuses')
      this.#time.after(delayMs, socket.process, () =>
        socket.destroy(Object.assign(new Error(`connect ECONNREFUSED ${HOST}:${port}`), { code: 'ECONNREFUSED' })),
      )
    return socket
  }

  closed(socket: ModelSocket): void {
    this.#sockets.delete(socket)
  }

  /** A command of the world itself, which reaches the data always. */
  look(...command: readonly string[]): Reply {
    return (this.#waiting ?? this.#keyspace).run(command, shaOf)
  }

  // --- what goes wrong --------------------------------------------------------------------------------------

  standStill(ms: number): void {
    this.#stillUntilMs = this.#time.nowMs + ms
  }

  /** As it is now, to be given to `die`. */
  replica(): Keyspace {
    return this.#keyspace.copy()
  }

  /**
   * @param how  a process that is gone refuses connections, a machine that is gone says nothing
   * @param data  what it comes back with: a replica's; null: nothing
   */
  die(how: 'refuses' | 'silent', data: Keyspace | null): void {
    this.#is = how
    this.#waiting = data ?? new Keyspace(this.#time.wallClock)
    if (how === 'refuses') this.cutAll()
  }

  /** At the same address. */
  comeBack(): void {
    this.#is = 'up'
    this.#keyspace = this.#waiting ?? this.#keyspace
    this.#waiting = null
    this.cutAll()
  }

  cutAll(): void {
    for (const socket of [...this.#sockets]) this.#time.after(1, socket.process, () => socket.destroy())
  }

  moveSlots(border: number): void {
    this.#border = border
  }

  // --- what it does -----------------------------------------------------------------------------------------

  /** A command has arrived. */
  receive(socket: ModelSocket, command: readonly string[]): void {
    if (this.#is !== 'up' || socket.destroyed) return
    if (this.#time.nowMs < this.#stillUntilMs) {
      this.#time.at(this.#stillUntilMs, null, () => this.receive(socket, command))
      return
    }
    const reply = this.#answer(socket, command)
    const fault = this.#fault()
    if (fault !== null) {
      this.#log(() => `redis: ${fault}: ${socket.process.id} ${shown(command)}`)
    }
    if (fault === 'answer lost') return socket.cut()
    socket.answer(encoded(reply), fault === 'answered late' ? 100 + this.#time.random() * 2500 : 0)
  }

  #answer({ port }: ModelSocket, command: readonly string[]): Reply {
    const [name = '', first = ''] = command
    if (/^info$/i.test(name))
      return `redis_version:7.2.0\r\nredis_mode:${this.#cluster ? 'cluster' : 'standalone'}\r\nloading:0\r\nmaxmemory_policy:noeviction\r\n`
    if (/^cluster$/i.test(name)) return this.#clusterAnswer(first)
    if (this.#cluster && command.length > 1 && !/^(client|select|script|readonly|ping)$/i.test(name)) {
      const slot = slotOf(
        /^eval/i.test(name) ? (command[3] ?? '') : /^x(group|info|readgroup)$/i.test(name) ? (command[2] ?? '') : first,
      )
      const owner = this.#portOf(slot)
      if (owner !== port) return new Failure(`MOVED ${slot} ${HOST}:${owner}`)
    }
    return this.#keyspace.run(command, shaOf)
  }

  #portOf(slot: number): number {
    return slot < this.#border ? PORTS[0] : PORTS[1]
  }

  #clusterAnswer(what: string): Reply {
    if (/^info$/i.test(what)) return 'cluster_state:ok\r\n'
    if (!/^slots$/i.test(what)) return new Failure(`ERR the model has no CLUSTER ${what}`)
    return [
      [0, this.#border - 1, [HOST, PORTS[0], 'a']],
      [this.#border, SLOTS - 1, [HOST, PORTS[1], 'b']],
    ]
  }
}

const shas = new Map<string, string>()
function shaOf(lua: string): string {
  let sha = shas.get(lua)
  if (sha === undefined) shas.set(lua, (sha = createHash('sha1').update(lua).digest('hex')))
  return sha
}

/** Without the script's text and what is sealed. */
function shown(command: readonly string[]): string {
  const [name = '', ...args] = command
  return `${name} ${args
    .slice(/^eval/i.test(name) ? 2 : 0, 6)
    .map((each) => each.slice(0, 24).replaceAll(/[^ -~]/g, '?'))
    .join(' ')}`
}

function encoded(reply: Reply): string {
  if (reply === null) return '$-1\r\n'
  if (reply instanceof Failure) return `-${reply.message}\r\n`
  if (reply instanceof Status) return `+${reply.text}\r\n`
  if (typeof reply === 'number') return `:${reply}\r\n`
  if (typeof reply === 'string') return `$${reply.length}\r\n${reply}\r\n`
  return `*${reply.length}\r\n${reply.map(encoded).join('')}`
}

/** A process that has sockets: it may be set to die at its next but n-th write. */
export interface Sending extends Process {
  readonly id: string
  /** It has made its first connection. */
  connects: boolean
  /** Something leaves the process. @returns false when it has just died */
  sends(): boolean
}

/** The part of a `net.Socket` that ioredis uses. */
class ModelSocket extends EventEmitter {
  readonly process: Sending
  readonly port: number
  connecting = true
  destroyed = false
  writable = true
  readonly #redis: ModelRedis
  readonly #time: VirtualTime
  #text = ''
  #arrivesMs = 0
  #answeredMs = 0
  #isCut = false
  #idle: { cancelled: boolean } | null = null

  constructor(redis: ModelRedis, time: VirtualTime, port: number) {
    super()
    this.#redis = redis
    this.#time = time
    this.process = time.current as Sending
    this.port = port
  }

  delayMs(): number {
    return 0.3 + this.#time.random() * 3
  }

  opened(): void {
    if (this.destroyed) return
    this.connecting = false
    this.emit('connect')
  }

  write(data: string | Buffer): boolean {
    if (this.destroyed || !this.process.sends()) return false
    this.#text += typeof data === 'string' ? Buffer.from(data).toString('latin1') : data.toString('latin1')
    const commands: string[][] = []
    for (let command = this.#take(); command !== null; command = this.#take()) commands.push(command)
    this.#arrivesMs = Math.max(this.#arrivesMs, this.#time.nowMs + this.delayMs())
    // A sent command arrives, although its sender may be dead by then.
    for (const command of commands) this.#time.at(this.#arrivesMs, null, () => this.#redis.receive(this, command))
    return true
  }

  /** Nothing more comes: an answer is lost with all those behind it. */
  cut(): void {
    this.#isCut = true
    this.#time.after(this.delayMs(), this.process, () => this.destroy())
  }

  /** In order; a late one holds up those behind it. */
  answer(text: string, lateMs: number): void {
    if (this.#isCut) return
    this.#answeredMs = Math.max(this.#answeredMs, this.#time.nowMs + this.delayMs() + lateMs)
    this.#time.at(this.#answeredMs, this.process, () => {
      if (!this.destroyed) this.emit('data', Buffer.from(text, 'latin1'))
    })
  }

  /** One whole command, as ioredis writes it: an array of bulk strings. */
  #take(): string[] | null {
    const head = /^\*(\d+)\r\n/.exec(this.#text)
    if (head === null) return null
    let at = head[0].length
    const command: string[] = []
    for (let i = 0; i < Number(head[1]); i++) {
      const end = this.#text.indexOf('\r\n', at)
      if (end < 0) return null
      const length = Number(this.#text.slice(at + 1, end))
      if (this.#text.length < end + 2 + length + 2) return null
      command.push(this.#text.slice(end + 2, end + 2 + length))
      at = end + 2 + length + 2
    }
    this.#text = this.#text.slice(at)
    return command
  }

  end(): this {
    return this.destroy()
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.writable = false
    this.#redis.closed(this)
    if (this.#idle !== null) this.#idle.cancelled = true
    this.#time.after(0, this.process, () => {
      if (error !== undefined) this.emit('error', error)
      this.emit('end')
      this.emit('close', error !== undefined)
    })
    return this
  }

  setTimeout(ms: number, expired?: () => void): this {
    if (this.#idle !== null) this.#idle.cancelled = true
    this.#idle = ms > 0 && expired !== undefined ? this.#time.after(ms, this.process, expired) : null
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  resume(): this {
    return this
  }

  pause(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}
