import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { packageRoot } from '../../src/config/package-root.js'
import { startShopApi } from '../../examples/shop-api/server.js'
import { startGateway } from '../../src/gateway/gateway.js'
import { noteDifferences } from '../../src/gateway/usage-differences.js'
import { loadConfig } from '../../src/config/load-config.js'
import type { Log } from '../../src/telemetry/log.js'
import { reexport } from '../support/module-beside.js'
import { SAME_CALLER } from '../support/same-caller.js'

/** Parts of an agent's file. */
export type AgentParts = Partial<AgentInput>

/**
 * Two agents on the scripted backend, one of which hears both tracks, the shipped order line, which nobody calls, and
 * those of `more`: as the others, but for what it has of them, with its tools beside theirs. All look their callers up.
 */
async function agentsFolder(more: Readonly<Record<string, AgentParts>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-agents-'))
  await copyFile(join(packageRoot(), 'agents', 'order-status.yaml'), join(folder, 'order-status.yaml'))
  await writeFile(join(folder, 'callers.json'), JSON.stringify([{ phone: '+254700000001', name: 'Amina' }]))
  for (const file of ['scripted-backend', 'relief-backend'])
    await writeFile(join(folder, `${file}.mjs`), reexport(new URL(`./${file}.js`, import.meta.url)))
  const agents: Readonly<Record<string, AgentParts>> = {
    light: {},
    stereo: { stream: { track: 'both_tracks' } },
    ...more,
  }
  for (const [name, { tools = [], ...parts }] of Object.entries(agents)) {
    await writeFile(
      join(folder, `${name}.yaml`),
      JSON.stringify({
        version: 1,
        name,
        instructions: 'Beep.',
        backend: ['module:./scripted-backend.mjs', 'module:./relief-backend.mjs'],
        greeting: 'Beep.',
        caller: { file: 'callers.json' },
        turn: { endOfSpeechMs: 300 },
        escalation: { numbers: ['+254709000001'], strategies: ['supervision'], announce: null },
        // "Beep" is what the scripted backend says: true in a call whose order was looked up.
        claims: { rules: [{ tools: ['lookup_order'], phrases: { en: ['beep'] } }] },
        // Without a model: a call counts as resolved when a human took it.
        analysis: { fields: { resolved: { known: 'escalated' } } },
        tools: [
          {
            name: 'lookup_order',
            description: 'Looks an order up.',
            parameters: { properties: { orderNumber: { type: 'string' } } },
            http: { url: '{{env.SHOP_API_URL}}/api/orders', query: [{ order_number: '{{args.orderNumber}}' }] },
          },
          ...tools,
        ],
        ...parts,
      }),
    )
  }
  return folder
}

/** A whole gateway whose agents answer without a recogniser, with the demo shop behind it. */
export async function lightGateway(
  env: Readonly<Record<string, string>>,
  log: Log,
  more: Readonly<Record<string, AgentParts>> = {},
) {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  const agentsDir = await agentsFolder(more)
  const dataDir = await mkdtemp(join(tmpdir(), 'mkondo-data-'))
  const days = { from: '2026-11-01', to: '2026-11-30' }
  await noteDifferences(dataDir, [
    { model: 'a-compared-model', over: 1, overPercent: 5, ...days, at: new Date().toISOString() },
  ])
  const config = {
    ...loadConfig({ SPEECH_DECODERS: '1', ...SAME_CALLER, ...env }, null),
    agentsDir,
    dataDir,
    port: 0,
    opsPort: 0,
    host: '127.0.0.1',
    shopApiUrl: shop.url,
    mediaWorkers: 1,
  }
  const gateway = await startGateway({ config, env: { SHOP_API_URL: shop.url }, log })
  return {
    url: `http://127.0.0.1:${gateway.publicPort}`,
    opsPort: gateway.opsPort,
    calls: gateway.calls,
    close: async () => {
      await gateway.stop(0)
      await shop.close()
      await Promise.all([agentsDir, dataDir].map((folder) => rm(folder, { recursive: true, force: true })))
    },
  }
}
