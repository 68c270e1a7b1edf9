import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
// It measures a path of the network in real time, for long-path.slow.test.ts.
// eslint-disable-next-line no-restricted-syntax
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Run within a network namespace whose loopback is slow: sends audio to itself over TCP, and prints what it measured as
 * JSON (`LongPath`). Argument: seconds of audio.
 */
export interface LongPath {
  /** A burst after a pause: from its first byte sent to its last received, the median of `BURSTS`. */
  readonly burstMs: number
  /** Messages of audio, one every 20 ms: how late each came, sorted. */
  readonly lateMs: readonly number[]
}

const BURSTS = 3
/** Bytes of two deltas of 200 ms, and 400 ms of pre-roll: more than a connection may send at its start. */
const BURST_BYTES = 30_000
const WARM_UP_BYTES = 400_000
const IDLE_MS = 1500
const MESSAGE_BYTES = 640
const MESSAGE_MS = 20

async function received(socket: Socket, bytes: number): Promise<void> {
  for (let got = 0; got < bytes;) got += ((await once(socket, 'data')) as [Buffer])[0].length
}

async function burstMs(near: Socket, far: Socket): Promise<number> {
  await sleep(IDLE_MS)
  const fromMs = performance.now()
  near.write(Buffer.alloc(BURST_BYTES))
  await received(far, BURST_BYTES)
  return performance.now() - fromMs
}

async function audio(near: Socket, far: Socket, seconds: number): Promise<readonly number[]> {
  const count = Math.round((seconds * 1000) / MESSAGE_MS)
  const sentMs: number[] = []
  const lateMs: number[] = []
  let got = 0
  far.on('data', (bytes: Buffer) => {
    got += bytes.length
    while (lateMs.length < Math.floor(got / MESSAGE_BYTES))
      lateMs.push(performance.now() - (sentMs[lateMs.length] as number))
  })
  for (const fromMs = performance.now(); sentMs.length < count;) {
    sentMs.push(performance.now())
    near.write(Buffer.alloc(MESSAGE_BYTES))
    await sleep(Math.max(0, fromMs + sentMs.length * MESSAGE_MS - performance.now()))
  }
  while (lateMs.length < count) await sleep(MESSAGE_MS)
  return lateMs.toSorted((a, b) => a - b)
}

const server = createServer().listen(0, '127.0.0.1')
await once(server, 'listening')
const near = connect((server.address() as AddressInfo).port, '127.0.0.1')
const [far] = (await once(server, 'connection')) as [Socket]
near.setNoDelay(true)
near.write(Buffer.alloc(WARM_UP_BYTES))
await received(far, WARM_UP_BYTES)
const bursts: number[] = []
for (let i = 0; i < BURSTS; i++) bursts.push(await burstMs(near, far))
const lateMs = await audio(near, far, Number(process.argv[2]))
console.log(
  JSON.stringify({ burstMs: bursts.toSorted((a, b) => a - b)[BURSTS >> 1] as number, lateMs } satisfies LongPath),
)
process.exit(0)
