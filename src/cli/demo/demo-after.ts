import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text as bodyOf } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import type { Environment } from '../../agents/file/template.js'
import type { CallAnalysis } from '../../call/documents/record.js'
import { FRAME_MS } from '../../core/units.js'
import { LocalHttpServer } from '../../system/local-http-server.js'
import { AnalystDouble } from '../../vendors/self-hosted/analyst-double.js'
import { conversation } from '../conversation.js'
import type { Terminal } from '../terminal.js'
import { withDemoGateway, placeCall } from './demo-gateway.js'
import type { DemoOptions } from './demo-gateway.js'

// --- after a call ---------------------------------------------------------------------------------------------

/** Maximum time in ms to wait for the messages about the demo's call. */
const MESSAGES_WAIT_MS = 15_000
const MESSAGES_WANTED = ['call.started', 'call.ended', 'call.analysed'] as const

const ANALYSED_AGENT = `backend: embedded
analysis:
  fields:
    intent: { type: string, enum: [order, refund, other] }
    resolved: { type: boolean }
    tools: { known: tools }`

/** The part of the event that the demo reads. */
interface AnalysedEvent {
  readonly type: string
  readonly subject: string
  readonly data: { readonly analysis?: CallAnalysis | null }
}

/** Receiver of messages that follows docs/MESSAGES.md: it refuses each message whose signature is wrong. */
class Receiver extends LocalHttpServer {
  readonly events: AnalysedEvent[] = []
  refused = 0

  constructor(secret: string, onEvent: (type: string) => void) {
    const webhook = new Webhook(secret)
    const seen = new Set<string>()
    super({}, async (request, response) => {
      try {
        const event = webhook.verify(await bodyOf(request), request.headers as Record<string, string>) as AnalysedEvent
        response.end()
        const id = String(request.headers['webhook-id'])
        if (seen.has(id)) return
        seen.add(id)
        this.events.push(event)
        onEvent(event.type)
      } catch {
        this.refused++
        response.writeHead(401).end()
      }
    })
  }
}

/**
 * Shows a call, its analysis and its messages. A local server receives and verifies the messages.
 * @returns 0 if each message came and was valid, and the last message has the analysis
 */
export async function afterDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const analyst = await AnalystDouble.start()
  const secret = `whsec_${randomBytes(32).toString('base64')}`
  const print = options.json === '-' ? terminal.err : terminal.out
  const receiver = await Receiver.start(secret, (type) => print(`message  ${type}: the signature is ours\n`))
  const prepare = async (folder: string): Promise<Environment> => {
    const file = join(folder, 'messages.yaml')
    const url = `${receiver.baseUrl}/hook`
    await writeFile(file, `receivers: [{ name: demo, url: '${url}', secrets: [DEMO_WEBHOOK_SECRET] }]\n`)
    return { MESSAGES_FILE: file, DEMO_WEBHOOK_SECRET: secret, LLM_URL: analyst.baseUrl, LLM_MODEL: 'analyst' }
  }
  const setting = { prepare, backend: ANALYSED_AGENT, services: [analyst, receiver] }
  return withDemoGateway(options, terminal, setting, async (demo) => {
    const caller = { agent: 'order-status', order: '4127', from: '+254700000009' }
    const call = await placeCall(demo, caller, conversation(print, terminal))
    const analysed = (): AnalysedEvent | undefined => receiver.events.find(({ type }) => type === 'call.analysed')
    const untilMs = performance.now() + MESSAGES_WAIT_MS
    while (analysed() === undefined && performance.now() < untilMs) await sleep(FRAME_MS)
    const analysis = analysed()?.data.analysis ?? null
    for (const [name, { value, quote }] of Object.entries(analysis?.fields ?? {}))
      print(`analysis ${name}: ${String(value)}${quote === null ? '' : ` ("${quote}")`}\n`)
    print(`analysis summary: ${analysis?.summary ?? 'none'}\n`)
    const came = receiver.events.filter(({ subject }) => subject === call.callSid).map(({ type }) => type)
    const isWhole = MESSAGES_WANTED.every((type) => came.includes(type)) && receiver.refused === 0
    const ok = isWhole && analysis?.fields['intent']?.value === 'order' && analysis.summary !== null
    const verdict = ok ? 'each message came, and says what the call was about\n' : 'NOT each message came whole\n'
    return { ok, result: { calls: [call], messages: receiver.events }, verdict }
  })
}
