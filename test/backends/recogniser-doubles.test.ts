import { DeepgramClient } from '@deepgram/sdk'
import t from 'tap'
import type { Test } from 'tap'
import { DeepgramDouble } from '../../src/simulator/vendors/deepgram-double.js'
import { Script } from '../../src/simulator/vendors/double.js'

const KEY = 'sk-double-0123456789abcdef'
const TEXT = 'where is my order today'
const LOUD = Int16Array.from({ length: 24_000 }, (_, i) => 9000 * Math.sin(i / 8))

async function deepgram(t: Test): Promise<{ readonly double: DeepgramDouble; readonly client: DeepgramClient }> {
  const double = await DeepgramDouble.start({ key: KEY, script: new Script([], [TEXT]) })
  t.teardown(() => double.close())
  return { double, client: new DeepgramClient({ apiKey: KEY, baseUrl: double.baseUrl.replace('http', 'ws') }) }
}
const audio = {
  encoding: 'linear16',
  sample_rate: 16_000,
  reconnectAttempts: 0,
  Authorization: `Token ${KEY}`,
} as const

t.test("Deepgram's own client transcribes with the double of /v1/listen", async (t) => {
  const { double, client } = await deepgram(t)
  const socket = await client.listen.v1.connect({ ...audio, model: 'nova-3', interim_results: 'true' })
  const finals: string[] = []
  let interims = 0
  const finalized = new Promise<void>((resolve) =>
    socket.on('message', (message) => {
      if (message.type !== 'Results') return
      const text = message.channel.alternatives[0]?.transcript ?? ''
      if (message.is_final === true) finals.push(text)
      else interims++
      if (message.from_finalize === true) resolve()
    }),
  )
  socket.connect()
  await socket.waitForOpen()
  socket.sendKeepAlive({ type: 'KeepAlive' })
  socket.sendMedia(LOUD)
  socket.sendFinalize({ type: 'Finalize' })
  await finalized
  t.equal(finals.join(' '), TEXT, 'ranges, put together')
  t.ok(interims > 0, 'words that were uncertain came before')
  t.equal(double.keepalives, 1)
  const closed = new Promise<number>((resolve) => socket.on('close', ({ code }) => resolve(code)))
  socket.sendCloseStream({ type: 'CloseStream' })
  t.equal(await closed, 1000)
})

t.test('it ends a turn of /v2/listen that is forced to end', async (t) => {
  const { client } = await deepgram(t)
  const socket = await client.listen.v2.connect({ ...audio, model: 'flux-general-en', eot_threshold: 1 })
  const events: string[] = []
  const ended = new Promise<string>((resolve) =>
    socket.on('message', (message) => {
      if (message.type !== 'TurnInfo') return
      events.push(message.event)
      if (message.event === 'EndOfTurn') resolve(`${message.trigger ?? ''}: ${message.transcript}`)
    }),
  )
  socket.connect()
  await socket.waitForOpen()
  socket.sendMedia(LOUD)
  socket.sendForceEndTurn({ type: 'ForceEndTurn' })
  t.equal(await ended, `manual: ${TEXT}`)
  t.match(events, ['StartOfTurn', 'Update'])
  socket.close()
})
