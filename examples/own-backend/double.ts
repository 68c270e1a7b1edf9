/**
 * A double of a xiaozhi server, written from its published protocol and the source of its open-source implementation:
 * its messages, their order, and its refusals. Its model is a script.
 */
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import type { ScriptedReply } from 'mkondo/conformance'

const FRAME_MS = 60
const MS_PER_CHAR = 55

type Message = Readonly<Record<string, unknown>>

export class XiaozhiDouble {
  readonly replies: ScriptedReply[] = []
  readonly callerTexts: string[] = []
  readonly texts: string[] = []
  readonly toolAnswers: { readonly callId: string; readonly text: string }[] = []
  /** Tools that the client listed. */
  tools: readonly { readonly name: string }[] = []
  answers = 0
  connections = 0
  callerAudioMs = 0
  readyDelayMs = 0
  /**
   * Status with which upgrades are refused. `never`: upgrades are not answered. `close`: upgrades are accepted, then
   * the connection is closed.
   */
  refuses: number | 'never' | 'close' | null = null
  readonly #token: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #sessions: Session[] = []

  constructor(token: string) {
    this.#token = token
    this.#server = createServer()
    const sockets = new WebSocketServer({ noServer: true })
    this.#server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    this.#server.on('upgrade', (request, socket, head) => {
      this.connections++
      if (this.refuses === 'never') return
      if (typeof this.refuses === 'number') {
        const body = `refused, with ${request.headers.authorization ?? 'no token'}`
        socket.end(`HTTP/1.1 ${this.refuses} No\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`)
        return
      }
      sockets.handleUpgrade(request, socket, head, (client) => {
        if (this.refuses === 'close') return client.terminate()
        if (request.headers.authorization === `Bearer ${this.#token}`) this.#sessions.push(new Session(client, this))
        else {
          client.send('authentication failed')
          client.close()
        }
      })
    })
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return this
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/xiaozhi/v1/`
  }

  breakOff(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    for (const session of this.#sessions) session.abort()
    this.breakOff()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

/** One connected client. */
class Session {
  readonly #client: WebSocket
  readonly #double: XiaozhiDouble
  /** Samples of the caller since `listen start`. */
  #heard = 0
  #listening = false
  /** Number of the current answer. Each new answer, and each abort, increases it and so ends all earlier answers. */
  #chat = 0
  /** Calls without a result, by id. */
  readonly #calls = new Map<number, string>()
  #nextId = 3

  constructor(client: WebSocket, double: XiaozhiDouble) {
    this.#client = client
    this.#double = double
    client.on('error', () => undefined)
    client.on('message', (data, binary) => {
      if (!binary) this.#message(JSON.parse((data as Buffer).toString()) as Message)
      else if (this.#listening) {
        this.#heard += (data as Buffer).length / 2
        double.callerAudioMs += (data as Buffer).length / 32
      }
    })
  }

  abort(): void {
    this.#chat++
    this.#calls.clear()
  }

  #message(message: Message): void {
    switch (message['type']) {
      case 'hello':
        setTimeout(() => {
          this.#send({
            type: 'hello',
            transport: 'websocket',
            session_id: 's-1',
            audio_params: message['audio_params'],
          })
          this.#rpc(1, 'initialize', { protocolVersion: '2024-11-05', capabilities: {} })
          this.#rpc(2, 'tools/list', {})
        }, this.#double.readyDelayMs).unref()
        return
      case 'listen':
        return this.#listen(message['state'], message['text'])
      case 'abort':
        this.abort()
        this.#send({ type: 'tts', state: 'stop' })
        return
      case 'mcp':
        return this.#result(message['payload'] as Message)
    }
  }

  #listen(state: unknown, text: unknown): void {
    this.#listening = state === 'start'
    if (state === 'start') this.#heard = 0
    if (state === 'stop' && this.#heard > 0) this.#asked(this.#double.callerTexts.shift() ?? 'hello')
    if (state !== 'detect' || typeof text !== 'string') return
    this.#double.texts.push(text)
    this.#asked(text)
  }

  #asked(text: string): void {
    this.#send({ type: 'stt', text: text.replace(/[.!?[\]]+$/, '') })
    this.#send({ type: 'llm', text: '🙂', emotion: 'happy' })
    this.#send({ type: 'tts', state: 'start' })
    this.#say(++this.#chat)
  }

  #say(chat: number): void {
    const { say = '', calls = [], audioMs = say.length * MS_PER_CHAR, paceMs } = this.#next()
    for (const { name, args } of calls) {
      const id = this.#nextId++
      this.#calls.set(id, name)
      this.#rpc(id, 'tools/call', { name, arguments: args })
    }
    if (calls.length > 0) return
    this.#send({ type: 'tts', state: 'sentence_start', text: say })
    const frames: number[] = []
    for (let left = audioMs; left > 0; left -= FRAME_MS) frames.push(Math.min(left, FRAME_MS))
    const step = (): void => {
      do {
        if (chat !== this.#chat) return
        const ms = frames.shift()
        if (ms === undefined) {
          this.#send({ type: 'tts', state: 'sentence_end', text: say })
          this.#send({ type: 'tts', state: 'stop' })
          return
        }
        this.#client.send(Buffer.alloc(ms * 32, 7))
      } while (paceMs === undefined)
      setTimeout(step, paceMs).unref()
    }
    step()
  }

  #next(): ScriptedReply {
    this.#double.answers++
    return this.#double.replies.shift() ?? { say: 'Yes.' }
  }

  #result({ id, result }: Message): void {
    const given = (result ?? {}) as { readonly tools?: XiaozhiDouble['tools']; readonly content?: [{ text: string }] }
    if (given.tools !== undefined) this.#double.tools = given.tools
    if (typeof id !== 'number' || !this.#calls.delete(id)) return
    this.#double.toolAnswers.push({ callId: String(id), text: given.content?.[0].text ?? '' })
    if (this.#calls.size === 0) this.#say(this.#chat)
  }

  #rpc(id: number, method: string, params: unknown): void {
    this.#send({ type: 'mcp', payload: { jsonrpc: '2.0', id, method, params } })
  }

  #send(message: Message): void {
    this.#client.send(JSON.stringify({ session_id: 's-1', ...message }))
  }
}
