import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { Sentences } from '../../src/backends/cascade/sentences.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { CascadeDouble } from '../../src/simulator/vendors/cascade-double.js'
import { CASCADE_TEST_KEY, cascadeOptions } from '../backends/cascade-harness.js'

// What language models stream in place of plain words.

type Choice = Readonly<Record<string, unknown>>

interface Outcome {
  /** What the voice was given. */
  readonly spoken: readonly string[]
  readonly requests: number
  readonly done: { readonly status: string; readonly cut?: string }
  readonly stats: CascadeBackend['stats']
}

/** An answer of a model for each request, as its chunks; the last one is repeated. */
async function answered(t: Test, answers: readonly (readonly Choice[])[]): Promise<Outcome> {
  let requests = 0
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      // Whether the service is there.
      if (request.method !== 'POST') {
        response.writeHead(404).end()
        return
      }
      const chunks = answers[Math.min(requests++, answers.length - 1)] ?? []
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const choice of chunks) response.write(`data: ${JSON.stringify({ choices: [choice] })}\n\n`)
      response.end('data: [DONE]\n\n')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const recorder = new Recorder()
  const options = cascadeOptions(double)
  const llm = chat({ baseUrl: `http://127.0.0.1:${port}`, model: 'any' })
  const backend = new CascadeBackend(recorder, { ...options, llm: [llm] })
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
    server.close()
  })
  await backend.connect(conformanceSession({}), new AbortController().signal)
  const before = requests
  backend.sendText('Hello', { role: 'caller', respond: true })
  const done = await recorder.next('turn-done')
  return { spoken: double.spoken, requests: requests - before, done, stats: backend.stats }
}

const words = (content: unknown): Choice => ({ delta: { content }, finish_reason: null })
const end = (finish_reason: string): Choice => ({ delta: {}, finish_reason })

t.test('words are read wherever a server puts them', async (t) => {
  for (const [name, chunks] of [
    [
      'parts',
      [
        words([
          { type: 'text', text: 'It is ' },
          { type: 'text', text: 'on its way now.' },
        ]),
        end('stop'),
      ],
    ],
    ['parts of the responses API', [words([{ type: 'output_text', text: 'It is on its way now.' }]), end('stop')]],
    ['a list of strings', [words(['It is on ', 'its way now.']), end('stop')]],
    ['a refusal', [{ delta: { content: null, refusal: 'It is on its way now.' } }, end('stop')]],
    ['a whole message', [{ message: { role: 'assistant', content: 'It is on its way now.' }, finish_reason: 'stop' }]],
    [
      'reasoning beside them',
      [{ delta: { reasoning_content: 'They want. Their order.' } }, words('It is on its way now.'), end('stop')],
    ],
    [
      'reasoning as a part',
      [
        words([
          { type: 'reasoning', text: 'They want it.' },
          { type: 'text', text: 'It is on its way now.' },
        ]),
        end('stop'),
      ],
    ],
    ['reasoning in tags', [words('<think>They want. It.</think>'), words('It is on its way now.'), end('stop')]],
  ] as const) {
    const { spoken, requests, done } = await answered(t, [chunks])
    t.same(spoken, ['It is on its way now.'], name)
    t.equal(requests, 1, name)
    t.equal(done.status, 'completed', name)
  }
})

t.test('an answer without words is asked for once more, and then has failed', async (t) => {
  const good = [words('It is on its way now.'), end('stop')]
  for (const [name, chunks] of [
    ['nothing', [end('stop')]],
    ['only reasoning', [{ delta: { reasoning: 'Hm, what do they want?' } }, end('stop')]],
    ['an unclosed thought', [words('<think>They want to know where'), end('length')]],
    ['white space', [words('  \n'), end('stop')]],
    ['a filter', [{ delta: {}, finish_reason: 'content_filter' }]],
    ['no chunk at all', []],
    ['a picture', [words('😊'), end('stop')]],
    ['an empty list', [words([]), end('stop')]],
  ] as const) {
    const once = await answered(t, [chunks, good])
    t.same(once.spoken, ['It is on its way now.'], name)
    t.equal(once.requests, 2, name)
    t.equal(once.stats.emptyAnswers, 1, name)
    const twice = await answered(t, [chunks])
    t.equal(twice.requests, 2, `${name}: twice at most`)
    t.equal(twice.done.status, 'failed', name)
    t.same(twice.spoken, [], name)
  }
})

t.test('an answer that was cut off ends at its last whole clause, and is marked', async (t) => {
  for (const [written, spoken, reason] of [
    ['It left Nairobi. It should reach you by the', ['It left Nairobi.'], 'length'],
    ['It left Nairobi on Tuesday, and it should', ['It left Nairobi on Tuesday,'], 'length'],
    ['It left Nairobi on', ['It left Nairobi on'], 'length'],
    ['Your parcel is here. I cannot tell', ['Your parcel is here.'], 'content_filter'],
    ['Your parcel is here.', ['Your parcel is here.'], 'length'],
  ] as const) {
    const outcome = await answered(t, [[words(written), end(reason)]])
    t.same(outcome.spoken, spoken, written)
    t.match(outcome.done, { status: 'completed', cut: reason === 'length' ? 'length' : 'filter' })
    t.equal(outcome.stats.answersCut, 1)
  }
  const whole = await answered(t, [[words('It is on its way now.'), end('stop')]])
  t.equal(whole.done.cut, undefined)
})

t.test('nothing that cannot be spoken is a piece, and a number stays with its item', async (t) => {
  const cut = (text: string): string[] => {
    const sentences = new Sentences()
    return [...[...text].flatMap((char) => sentences.push(char)), ...sentences.flush()]
  }
  for (const [text, pieces] of [
    ['😊 Your order is here. 🎉🎉', ['Your order is here.']],
    ['It is on its way… — … Have a good day.', ['It is on its way…', 'Have a good day.']],
    ['---|---\nYour order is here.', ['Your order is here.']],
    [
      'You can:\n1. Pick it up today.\n2. Wait until tomorrow.',
      ['You can: 1. Pick it up today.', '2. Wait until tomorrow.'],
    ],
    [
      'Choose one of these.\n\n* Pay it now.\n* Pay it later.',
      ['Choose one of these.', 'Pay it now.', 'Pay it later.'],
    ],
    ['It costs Ksh. 500 in all. Pay by 9 a.m. on Friday.', ['It costs Ksh. 500 in all.', 'Pay by 9 a.m. on Friday.']],
    ['ትዕዛዝዎ መንገድ ላይ ነው። ነገ ጠዋት ይደርሳል ብለን እንጠብቃለን።', ['ትዕዛዝዎ መንገድ ላይ ነው።', 'ነገ ጠዋት ይደርሳል ብለን እንጠብቃለን።']],
    ['आपका ऑर्डर रास्ते में है। वह कल सुबह पहुँचेगा।', ['आपका ऑर्डर रास्ते में है।', 'वह कल सुबह पहुँचेगा।']],
  ] as const)
    t.same(cut(text), pieces, text)
})
