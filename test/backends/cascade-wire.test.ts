import t from 'tap'
import type { SpeechCreateParams } from 'openai/resources/audio/speech'
import type { ChatCompletionChunk, ChatCompletionCreateParamsStreaming } from 'openai/resources/chat/completions'
import { EventLines } from '../../src/backends/cascade/sse.js'
import type { ChatChunk, ChatRequest, SpeechRequest } from '../../src/backends/cascade/wire.js'

/** Compiles only where a value of the first type may stand for one of the second. */
type Fits<Ours extends Theirs, Theirs> = Ours
export type _Types = [
  Fits<ChatRequest, ChatCompletionCreateParamsStreaming>,
  Fits<SpeechRequest, SpeechCreateParams>,
  Fits<ChatCompletionChunk, ChatChunk>,
]

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

t.test('events are whole however the stream is cut', async (t) => {
  const text = 'data: {"a":"ä"}\n\n: a comment\nevent: x\r\ndata:{"b":2}\r\n\r\ndata: [DONE]\n\n'
  for (let step = 1; step < 12; step++) {
    const lines = new EventLines()
    const all = bytes(text)
    const out: string[] = []
    for (let at = 0; at < all.length; at += step) out.push(...lines.push(all.subarray(at, at + step)))
    t.same([...out, ...lines.end()], ['{"a":"ä"}', '{"b":2}'], `in steps of ${step}`)
  }
})

t.test('the last event needs no line break, and one that never ends is given up', async (t) => {
  const lines = new EventLines()
  lines.push(bytes('data: {"a":1}'))
  t.same(lines.end(), ['{"a":1}'])
  const endless = new EventLines()
  endless.push(bytes('data: '))
  for (let i = 0; i < 5; i++) endless.push(bytes('x'.repeat(1024 * 1024)))
  t.equal(endless.oversize, 1)
  t.same(endless.push(bytes('xx\ndata: 7\n')), ['7'])
})
