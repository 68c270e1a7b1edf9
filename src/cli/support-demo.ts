import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EscalationPacket } from '../call/events.js'
import { loadConfig } from '../config/load-config.js'
import { runCallCommand } from '../simulator/call-command.js'
import type { CallReport } from '../simulator/call-report.js'
import { createLog } from '../telemetry/log.js'
import { startDemoShop } from './demo-shop.js'
import { startGateway } from '../gateway/gateway.js'

export interface SupportDemoOptions {
  readonly json: string | undefined
  /** Where the recording of the call is kept; null keeps none. */
  readonly record: string | null
  readonly screen: NodeJS.WriteStream
}

/**
 * One caller of the support line with a question, a balance and a broken line: the account is told only after two right
 * answers, a fix is gone through and fails, and the human who is rung has everything. The embedded backend, real speech.
 * @returns 0 when all of that happened
 */
export async function supportDemo({ json, record, screen }: SupportDemoOptions): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-demo-'))
  const startedMs = performance.now()
  const shop = await startDemoShop()
  try {
    const config = {
      ...loadConfig({}, null), port: 0, opsPort: 0, host: '127.0.0.1', shopApiUrl: shop.url, dataDir: folder, agentsWatch: false,
    }
    const gateway = await startGateway({ config, env: { SHOP_API_URL: shop.url }, log: createLog({ level: 'error' }) })
    try {
      screen.write(`The gateway takes calls after ${seconds(performance.now() - startedMs)}. Somebody calls the support line.\n\n`)
      const file = join(folder, 'call.json')
      const out = (text: string): unknown => screen.write(text)
      await runCallCommand([
        '--url', `http://127.0.0.1:${gateway.publicPort}`, '--ops-url', `http://127.0.0.1:${gateway.opsPort}`, '--shop-url', shop.url,
        '--agent', 'support', '--json', file, ...(record === null ? [] : ['--record', record]),
      ], { out, err: out, env: {} })
      const { calls } = JSON.parse(await readFile(file, 'utf8')) as { calls: CallReport[] } // written by our own command
      const [call] = calls
      const packet = call === undefined ? null : await handoff(gateway.opsPort, call.callSid)
      if (packet !== null) screen.write(contextText(packet))
      if (json === '-') process.stdout.write(`${JSON.stringify({ calls, handoff: packet }, null, 2)}\n`)
      else if (json !== undefined) await writeFile(json, `${JSON.stringify({ calls, handoff: packet }, null, 2)}\n`)
      const missing = call === undefined ? ['the call'] : missingOf(call, packet)
      screen.write(missing.length === 0
        ? `\nThe caller was helped as far as it went, and the human knew the rest (${seconds(performance.now() - startedMs)} in all).\n`
        : `\nMissing: ${missing.join('; ')} (${seconds(performance.now() - startedMs)} in all).\n`)
      return missing.length === 0 ? 0 : 1
    } finally {
      await gateway.stop(2000)
    }
  } finally {
    await shop.close()
    await rm(folder, { recursive: true, force: true })
  }
}

async function handoff(opsPort: number, callSid: string): Promise<EscalationPacket | null> {
  const response = await fetch(`http://127.0.0.1:${opsPort}/api/calls/${callSid}/handoff`)
  return response.ok ? await response.json() as EscalationPacket : null
}

/** What did not happen of what the demo promises. */
function missingOf(call: CallReport, packet: EscalationPacket | null): string[] {
  const said = call.transcript.filter(({ role }) => role === 'agent').map(({ text }) => text).join(' ')
  const ran = (name: string): number => call.toolCalls.filter((tool) => tool.name === name && tool.ok).length
  const asked = call.transcript.findIndex(({ text }) => text.includes('KES 350'))
  const proved = call.transcript.findIndex(({ text }) => text.includes('your customer number'))
  const checks: [boolean, string][] = [
    [ran('search_knowledge') > 0 && said.includes('open every day'), 'the answer to the question'],
    [ran('verify_caller') === 2, 'the caller\'s proof of who they are'],
    [ran('getAccount') > 0 && asked > proved && proved >= 0, 'the balance, after that proof'],
    [call.toolCalls.some(({ name, args }) => name === 'note_fix' && args['helped'] === false), 'a fix that did not help'],
    [call.dials.at(-1)?.outcome === 'answered', 'a human on the line'],
    [packet?.identity?.['accountId'] === 'AC-1001', 'who the caller is, for the human'],
    [packet?.tried.some(({ name }) => name === 'note_fix') === true, 'what was tried, for the human'],
  ]
  return checks.flatMap(([happened, what]) => (happened ? [] : [what]))
}

function contextText(packet: EscalationPacket): string {
  const identity = packet.identity === null ? 'not verified' : Object.entries(packet.identity).map(([name, value]) => `${name} ${String(value)}`).join(', ')
  const tried = packet.tried.map(({ name, ok, args }) => `${name}${Object.keys(args).length === 0 ? '' : ` ${JSON.stringify(args)}`}${ok ? '' : ' (failed)'}`)
  return [
    '', 'What the human is told (GET /api/calls/SID/handoff):',
    `  reason    ${packet.reason}`, `  summary   ${packet.summary}`, `  caller    ${identity}`,
    ...tried.map((line, index) => `  ${index === 0 ? 'tried    ' : '         '} ${line}`),
    `  and ${packet.transcript.length} lines of what was said`, '',
  ].join('\n')
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
