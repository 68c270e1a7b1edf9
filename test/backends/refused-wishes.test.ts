import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { gemini } from '../../src/vendors/gemini/services.js'
import { serviceContext } from '../../src/backends/cascade/service-context.js'
import type { LanguageModel, ServiceFactory } from '../../src/backends/cascade/service.js'
import { portOf } from '../support/port-of.js'

const KEY = 'model-0123456789abcdef'
const TUNED = { model: 'm', apiKey: KEY, temperature: 0.5, maxTokens: 100 }

interface Dialect {
  readonly make: (baseUrl: string) => ServiceFactory<LanguageModel>
  readonly event: object
  /** The field in a request, and the words with which the service refuses it. */
  readonly refusals: readonly (readonly [field: string, words: string])[]
}

const DIALECTS: Readonly<Record<string, Dialect>> = {
  chat: {
    make: (baseUrl) => chat({ ...TUNED, baseUrl }),
    event: { choices: [{ delta: { content: 'Jambo' } }] },
    refusals: [
      ['temperature', "Unsupported value: 'temperature' does not support 0.5 with this model."],
      ['max_tokens', "Unsupported parameter: 'max_tokens' is not supported with this model."],
      ['seed', 'seed: Extra inputs are not permitted'],
    ],
  },
  gemini: {
    make: (baseUrl) => gemini({ ...TUNED, baseUrl, thinkingLevel: 'low' }),
    event: { candidates: [{ content: { parts: [{ text: 'Jambo' }] } }] },
    refusals: [
      ['temperature', 'Invalid value at generation_config.temperature'],
      ['maxOutputTokens', 'Invalid value at generation_config.max_output_tokens'],
      ['seed', 'Unknown name "seed" at generation_config'],
      ['thinkingConfig', 'Thinking level is not supported: thinking_level'],
    ],
  },
}

for (const [name, { make, event, refusals }] of Object.entries(DIALECTS))
  for (const [field, words] of refusals)
    t.test(`${name}: a refused ${field} is left out`, async (t) => {
      const asked: boolean[] = []
      const server = createServer((request, response) => {
        void text(request).then((body) => {
          const sent = body.includes(`"${field}"`)
          asked.push(sent)
          if (sent) {
            const error = { code: 400, type: 'invalid_request_error', status: 'INVALID_ARGUMENT', message: words }
            return response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
          }
          return response
            .writeHead(200, { 'content-type': 'text/event-stream' })
            .end(`data: ${JSON.stringify(event)}\n\n`)
        })
      })
      const port = await portOf(t, server)
      let refused = 0
      const context = serviceContext('cascade', () => 0, new AbortController().signal, { wishRefused: () => refused++ })
      const model = make(`http://127.0.0.1:${port}`).make(context)
      const said = async (): Promise<string> => {
        const request = { messages: [{ role: 'user' as const, content: 'Habari?' }], tools: [], seed: 7 }
        let all = ''
        for await (const delta of model.answer(request, new AbortController().signal)) all += delta.text ?? ''
        return all
      }
      t.equal(await said(), 'Jambo')
      t.equal(await said(), 'Jambo')
      t.same(asked, [true, false, false], 'once refused, it is not sent again')
      t.equal(refused, 1)
    })
