import { createServer } from 'node:http'
import t, { type Test } from 'tap'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { isNoiseText } from '../../src/backends/cascade/noise-text.js'
import { isTold } from '../../src/backends/told.js'
import type { Told } from '../../src/backends/told.js'
import { Sentences } from '../../src/backends/cascade/sentences.js'
import { SpeechBody } from '../../src/backends/cascade/speech-body.js'
import type { Evidence } from '../../src/backends/cascade/service.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { writeWav } from '../../src/media/wav.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { CASCADE_TEST_KEY, cascadeOptions } from '../backends/cascade-harness.js'
import { bytesOf, sweep, sameSamples } from '../support/tones.js'
import { wavFile } from './wav-file.js'
import { portOf } from '../support/port-of.js'

// Pieces that language models stream in place of plain words.

type Choice = Readonly<Record<string, unknown>>

interface Outcome {
  /** Texts that the voice got. */
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
      // Some hosts refuse a client without a name, and some compress what nobody asked to be plain.
      const { 'user-agent': client, 'accept-encoding': encoding } = request.headers
      if (client === undefined || encoding !== 'identity') {
        response.writeHead(403).end()
        return
      }
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
  const port = await portOf(t, server)
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const recorder = new Recorder()
  const options = cascadeOptions(double)
  const llm = chat({ baseUrl: `http://127.0.0.1:${port}`, model: 'any' })
  const backend = new CascadeBackend(recorder, { ...options, llm: [llm] })
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
  })
  await backend.connect(conformanceSession({}), new AbortController().signal)
  const before = requests
  backend.sendText('Hello', { role: 'caller', respond: true })
  const done = await recorder.next('turn-done')
  return { spoken: double.spoken, requests: requests - before, done, stats: backend.stats }
}

const words = (content: unknown): Choice => ({ delta: { content }, finish_reason: null })
const end = (finish_reason: string): Choice => ({ delta: {}, finish_reason })

t.test("words are read from every form of a server's answer", async (t) => {
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

t.test('an empty answer is requested once more, then fails', async (t) => {
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

t.test('a truncated answer ends at its last whole clause', async (t) => {
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

t.test('unspeakable text is dropped, and numbers keep their item', async (t) => {
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

// Texts that recognisers write for sound without words, and real words of callers.

t.test('a transcript of noise is not answered', async (t) => {
  for (const [text, voicedMs, evidence = {}] of [
    ['', 900],
    ['[BLANK_AUDIO]', 900],
    ['(upbeat music)', 2000],
    ['*coughs*', 400],
    ['♪ la la la ♪', 3000],
    ['[Applause] [Laughter]', 3000],
    ['<|nospeech|>', 800],
    ['…', 500],
    ['Subtitles by the Amara.org community', 4000],
    ['Untertitel im Auftrag des ZDF für funk, 2017', 4000],
    ['Sous-titrage ST’ 501', 2500],
    ['Legendas pela comunidade', 2500],
    ['Thanks for watching!', 2000],
    ['Please subscribe to our channel.', 3000],
    ['Gracias por ver el video.', 2000],
    ['字幕由社区提供', 2000],
    ['www.mooji.org', 1500],
    ['Thank you. Thank you.', 400],
    ['Thank you.', 260],
    ['Thank you very much. Bye.', 500],
    ['Okay. Okay. Okay. Okay. Okay. Okay.', 900],
    ['I am going. I am going. I am going. I am going. I am going. I am going.', 9000],
    ['So, I think that we should really go there tomorrow and see what they have for us.', 300],
    ['Where is my order?', 900, { noSpeech: 0.9, logprob: -1.4 }],
    ['The the the the the the the', 3000, { compression: 3.1 }],
  ] as readonly (readonly [string, number, Evidence?])[])
    t.ok(isNoiseText(text, voicedMs, evidence), text)
})

t.test("a caller's words are answered", async (t) => {
  for (const [text, voicedMs, evidence = {}] of [
    ['Thank you.', 600],
    ['Bye.', 300],
    ['Asante.', 500],
    ['Sawa.', 300],
    ['You.', 280],
    ['Thank you. Thank you.', 1300],
    ['No, no, no, no, no.', 1200],
    ['Where is my order?', 900, { noSpeech: 0.1, logprob: -0.2, compression: 0.9 }],
    ['Where is my order?', 900, { noSpeech: 0.7, logprob: -0.3 }],
    ['4127', 1500],
    ['Nataka kujua mzigo wangu umefika wapi', 2200],
    ['(laughs) yes please', 1200],
    ['music is too loud, can you repeat?', 2000],
  ] as readonly (readonly [string, number, Evidence?])[])
    t.notOk(isNoiseText(text, voicedMs, evidence), text)
})

t.test("the recogniser's own prompt is not taken for the caller", async (t) => {
  const about = 'Calls to Sokoni, a shop in Nairobi. Callers ask for their orders.'
  const terms = ['Sokoni', 'Kisumu Road', 'sukuma wiki', 'Lipa na M-PESA', 'Wanjiru']
  for (const [text, told] of [
    [about, { text: about }],
    ['Callers ask for their orders', { text: about }],
    ['calls to sokoni a shop in nairobi', { text: about }],
    ['Callers ask for their orders. Calls to Sokoni, a shop in Nairobi.', { text: about }],
    ['The assistant is called Mkondo. The assistant is called Mkondo.', { text: 'The assistant is called Mkondo.' }],
    [terms.join(', '), { terms }],
    ['Kisumu Road, Sukuma Wiki, Lipa na M-PESA, Wanjiru.', { terms }],
  ] as readonly (readonly [string, Told])[])
    t.ok(isTold(text, told), text)
  for (const [text, told] of [
    ['', { text: about, terms }],
    ['Sokoni', { text: about, terms }],
    ['Sokoni?', { text: 'Sokoni', terms: ['Sokoni'] }],
    ['their orders', { text: about }],
    ['I call about my orders', { text: about, terms }],
    ['Sukuma wiki, Lipa na M-PESA', { terms }],
    ['I want sukuma wiki and Wanjiru', { terms }],
    ['Where is my order?', {}],
  ] as readonly (readonly [string, Told])[])
    t.notOk(isTold(text, told), text)
})

// Answers of voices to `/audio/speech` where raw samples were asked for.

const SOUND = sweep(3400, { sampleRateHz: 24_000, ms: 200, amplitude: 9000 })

/** @param step  bytes of a chunk */
function spoken(body: Uint8Array, step = 77): { readonly samples: number[]; readonly rateHz: number } {
  const speech = new SpeechBody(24_000)
  const samples: number[] = []
  for (let at = 0; at < body.length; at += step) samples.push(...speech.push(body.subarray(at, at + step)))
  samples.push(...speech.end())
  return { samples, rateHz: speech.sampleRateHz }
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

t.test('WAV files of any width, rate and channels are played', async (t) => {
  for (const [name, file, lossless] of [
    ['16 bits', writeWav({ sampleRateHz: 24_000, channels: 1, samples: SOUND }), true],
    ['24 bits', wavFile({ encoding: 'integer', bits: 24, rateHz: 24_000 }, SOUND), true],
    ['32 bits', wavFile({ encoding: 'integer', bits: 32, rateHz: 24_000 }, SOUND), true],
    ['float', wavFile({ encoding: 'float', bits: 32, rateHz: 24_000 }, SOUND), true],
    ['double', wavFile({ encoding: 'float', bits: 64, rateHz: 24_000 }, SOUND), true],
    ['stereo', wavFile({ encoding: 'integer', bits: 16, rateHz: 24_000, channels: 2 }, SOUND), true],
    ['8 bits', wavFile({ encoding: 'integer', bits: 8, rateHz: 24_000 }, SOUND), false],
    ['mu-law', wavFile({ encoding: 'pcmu', bits: 8, rateHz: 8000 }, SOUND), false],
  ] as const) {
    const { samples } = spoken(file)
    t.equal(samples.length, SOUND.length, name)
    const worst = Math.max(...samples.map((sample, i) => Math.abs(sample - (SOUND[i] ?? 0))))
    t.ok(worst <= (lossless ? 1 : 300), `${name}: ${worst}`)
  }
  for (const rateHz of [11_025, 22_050, 32_000, 44_100, 48_000]) {
    const { samples, rateHz: playedHz } = spoken(wavFile({ encoding: 'integer', bits: 16, rateHz }, SOUND))
    t.equal(playedHz, 24_000)
    t.ok(Math.abs(samples.length - (SOUND.length * 24_000) / rateHz) <= 30, `${rateHz} Hz`)
  }
})

t.test('base64 audio is played in every wrapping', async (t) => {
  const raw = Buffer.from(bytesOf(SOUND)).toString('base64')
  const file = Buffer.from(wavFile({ encoding: 'integer', bits: 24, rateHz: 24_000 }, SOUND)).toString('base64')
  for (const body of [
    Buffer.from(raw),
    Buffer.from(`data:audio/pcm;rate=24000;base64,${raw}`),
    Buffer.from(raw.replace(/(.{76})/g, '$1\r\n')),
    Buffer.from(file),
    json({ audio: raw }),
    json({ audioContent: file }),
    json({ data: [{ b64_json: raw, format: 'pcm16' }] }),
    json({ id: 'x', output: { audio: { data: `data:audio/wav;base64,${file}` } } }),
    json(raw),
  ])
    t.ok(sameSamples(Int16Array.from(spoken(body).samples), SOUND), Buffer.from(body).toString('latin1', 0, 40))
})

t.test('a body that is not audio is an error', async (t) => {
  for (const [body, reason] of [
    [json({ error: { message: 'model not loaded', code: 500 } }), /JSON document without sound/],
    [json({ detail: 'Not Found' }), /JSON document without sound/],
    [json([]), /no sound|without sound/],
    [Buffer.from('{"error": "cut off in the mid'), /text in place of sound/],
    [Buffer.from('<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>'), /text in place of sound/],
    [Buffer.from('Internal Server Error: the voice could not be loaded right now'), /text in place of sound/],
    [Buffer.alloc(0), /no sound/],
    [Buffer.from([0]), /no sound/],
    [writeWav({ sampleRateHz: 24_000, channels: 1, samples: new Int16Array(0) }), /no sound|without samples/],
    [Buffer.from('ID3\u0004 and so on and so on'), /compressed/],
    [Buffer.from([0x1a, 0x45, 0xdf, 0xa3, 1, 2, 3, 4, 5, 6, 7, 8, 9]), /compressed/],
    [Buffer.from('\0\0\0\x20ftypM4A and more of it'), /compressed/],
    [Buffer.from('FORM\0\0\0\x20AIFFCOMM\0\0\0\0\0\0'), /big-endian/],
    [
      Buffer.from('RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x02\0\x01\0\xc0\x5d\0\0\0\0\0\0\0\x01\x04\0data', 'latin1'),
      /cannot be read/,
    ],
  ] as const) {
    let samples = 0
    t.throws(
      () => {
        const speech = new SpeechBody(24_000)
        for (let at = 0; at < body.length; at += 5) samples += speech.push(body.subarray(at, at + 5)).length
        samples += speech.end().length
      },
      reason,
      body.toString().slice(0, 30),
    )
    t.equal(samples, 0)
  }
})

t.test('raw samples are played whatever their pieces or level', async (t) => {
  for (const samples of [
    new Int16Array(600),
    SOUND,
    Int16Array.from({ length: 700 }, (_, i) => ((i * 7919) % 65536) - 32768),
  ]) {
    for (const step of [1, 3, 640]) t.same(spoken(bytesOf(samples), step).samples, [...samples])
  }
  t.equal(new SpeechBody(24_000).push(bytesOf(SOUND).subarray(0, 640)).length, 320, 'at once')
})

const SAID = ['Your order is on its way.', 'Have a good day.']
/** Forms that models, servers and prompts were reported to write beside the speech, all around the same words. */
const UNSPOKEN: Readonly<Record<string, string>> = {
  'reasoning, DeepSeek and Qwen': '<think>They want. Their order.</think>A Have a good day.',
  'reasoning in the middle': 'A <thinking>Now say goodbye.</thinking> Have a good day.',
  'reasoning, Kimi': '◁think▷They want it.◁/think▷A Have a good day.',
  'reasoning, Magistral': '[THINK]They want it.[/THINK]A Have a good day.',
  'reasoning, Gemma': '<unused94>thought They want it.<unused95>A Have a good day.',
  'reasoning of an agent of prompts': 'Thought: They want it.\nAction: end_call\nFinal Answer: A Have a good day.',
  'channels, gpt-oss':
    '<|channel|>analysis<|message|>They want it.<|end|><|start|>assistant<|channel|>final<|message|>A Have a good day.<|return|>',
  'a call in a channel, gpt-oss':
    '<|channel|>final<|message|>A Have a good day.<|end|><|start|>assistant<|channel|>commentary to=functions.end_call <|constrain|>json<|message|>{"a":1}<|call|>',
  'channels without their marks': 'analysisThey want it.assistantfinalA Have a good day.',
  'a call, Hermes and Qwen':
    'A <tool_call>\n{"name": "end_call", "arguments": {"why": "done }"}}\n</tool_call> Have a good day.',
  'a call, Llama': 'A Have a good day. <|python_tag|>{"name": "end_call", "parameters": {}}<|eom_id|>',
  'a call, Llama in a tag': 'A <function=end_call>{"a": 1}</function> Have a good day.',
  'a call, bare': 'A {"name": "end_call", "arguments": {"text": "a } in \\"it\\""}} Have a good day.',
  'calls, bare': '[{"name": "end_call", "arguments": {}}] A Have a good day.',
  'a call, Mistral': 'A Have a good day. [TOOL_CALLS]end_call[ARGS]{"why": "done"}',
  'a call, LM Studio': 'A [TOOL_REQUEST]{"name": "end_call"}[END_TOOL_REQUEST] Have a good day.',
  'calls, DeepSeek':
    'A Have a good day. <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>end_call\n{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
  'calls, Kimi':
    'A <|tool_calls_section_begin|><|tool_call_begin|>functions.end_call:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|> Have a good day.',
  'a call in tags within tags': 'A <function_calls><p name="a">1</p></function_calls> Have a good day.',
  'a call in tags of a name space': 'A <minimax:tool_call><p>1</p></minimax:tool_call> Have a good day.',
  'a call as code, Gemini': 'A ```tool_code\nprint(default_api.end_call(why="done"))\n``` Have a good day.',
  'a call as code without a fence': 'A print(default_api.end_call(why="done (now)")) Have a good day.',
  'a call as words': 'A end_call(order_number="4711") Have a good day.',
  'a call, named': 'A functions.end({"a": [1]}) Have a good day.',
  JSON: 'A ```json\n{"a": 1}\n``` Have a good day.',
  'an answer in a fence': '```\nA Have a good day.\n```',
  'a turn that was not ended': 'A Have a good day.<|im_end|>',
  'a turn that was begun': '<|im_start|>assistant\nA Have a good day.<|eot_id|>',
  'a label': 'Assistant: A Have a good day.',
  SSML: '<speak><prosody rate="slow">A</prosody> <break time="500ms"/> Have a <emphasis>good</emphasis> day.</speak>',
  HTML: '<p>A</p><!-- say goodbye --><br>Have a <b>good</b>&nbsp;day.',
  'stage directions between stars': '*smiles warmly* A *clears throat* Have a good day. *nods* ',
  'stage directions in brackets': '(laughs) A (in a warm tone) Have a good day. (pause)',
  'stage directions in square brackets': '[cheerful] A [pause 1s] Have a good day. [end of call]',
  'stage directions in Swahili': '*anacheka* A (kwa upole) Have a good day.',
  "the gateway's own note": 'A Have a good day. [the caller interrupted]',
  'a link, a picture and a reference':
    '[Your order](https://x.co/a_b(c) is on its way.【4:0†source】 ![map](m.png) Have a good day. [1]',
  Markdown: '### **Your order** is _on_ its ~~way~~.\n\n---\n\n> Have a *good* day.',
  'a table': '| Your order | is on its way. |\n|---|---|\n| Have a good | day. |',
  pictures: 'A 😊👍🏽 Have a good day. 🎉',
}

t.test('text that is not speech is never spoken', async (t) => {
  for (const [form, written] of Object.entries(UNSPOKEN)) {
    const text = written.replace(/A(?= |\n|<\/|$)/, SAID[0] ?? '')
    for (const step of [1, 3, 7, 1000])
      for (const unit of ['sentences', 'words'] as const) {
        const sentences = new Sentences()
        sentences.unit = unit
        const characters = [...text]
        const out: string[] = []
        for (let at = 0; at < characters.length; at += step)
          out.push(...sentences.push(characters.slice(at, at + step).join('')))
        out.push(...sentences.flush())
        t.equal(out.map((piece) => piece.trim()).join(' '), SAID.join(' '), `${form}, ${unit}, ${step} at a time`)
      }
  }
})

t.test('ordinary text that resembles markup is spoken', async (t) => {
  for (const text of [
    'It costs 500 shillings (about 4 dollars), or less.',
    'It is *very* important, and _this_ too.',
    'Temperatures are below 5 < 10 degrees.',
    'Write to jane_doe at once (or call us).',
    'We open at nine (speaking of Monday the 1st).',
    'You get 3 * 4 = 12 of them!',
    'I think it is on its way. Action is needed.',
  ]) {
    const sentences = new Sentences()
    const out = [...[...text].flatMap((char) => sentences.push(char)), ...sentences.flush()]
    t.equal(out.join(' '), text.replace(/[*_](?=very|this)|(?<=very|this)[*_]/g, ''))
  }
})

t.test('text after an unfinished thought is spoken', async (t) => {
  const sentences = new Sentences()
  t.equal(sentences.add('It left Nairobi. <think>And now'), 'It left Nairobi. ')
  sentences.goOn()
  sentences.add('It arrives today.')
  t.same([...sentences.pieces(), ...sentences.flush()], ['It left Nairobi.', 'It arrives today.'])
})
