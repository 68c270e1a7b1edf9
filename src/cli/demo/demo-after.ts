import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text as bodyOf } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import type { Environment } from '../../agents/file/template.js'
import type { CallAnalysis } from '../../call/documents/record.js'
import { FRAME_MS } from '../../core/units.js'
import { HttpDouble } from '../../simulator/http-double.js'
import { AnalystDouble } from '../../simulator/vendors/analyst-double.js'
import { conversation } from '../conversation.js'
import type { Terminal } from '../terminal.js'
import { withDemoGateway, placeCall } from './demo-gateway.js'
import type { DemoOptions } from './demo-gateway.js'

// --- what follows a call --------------------------------------------------------------------------------------

/** How long the demo waits for the messages about its call. */
const MESSAGES_WAIT_MS = 15_000
const MESSAGES_WANTED = ['call.started', 'call.ended', 'call.analysed'] as const

const ANALYSED_AGENT = `backend: embedded
analysis:
  fields:
    intent: { type: string, enum: [order, refund, other] }
    resolved: { type: boolean }
    tools: { known: tools }`

/** As far as the demo reads it. */
interface AnalysedEvent {
  readonly type: string
  readonly subject: string
  readonly data: { readonly analysis?: CallAnalysis | null }
}

/** A receiver as docs/MESSAGES.md shows one: what it cannot verify is refused. */
class Receiver extends HttpDouble {
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
 * A call, what it was about, and its messages, received by a server that verifies them as any receiver would.
 * @returns 0 when each message came, was ours, and the last one has the analysis
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
