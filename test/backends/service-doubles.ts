import type { Server as NetServer } from 'node:net'
import { cascadeSettings } from '../../src/backends/cascade/service-facts.js'
import type { CascadeSettings } from '../../src/backends/cascade/service-facts.js'
import { loadConfig } from '../../src/config/load-config.js'
import { SETTINGS } from '../../src/config/settings.js'
import type { Setting } from '../../src/core/setting.js'
import type { LocalHttpServer } from '../../src/system/local-http-server.js'
import type { Script } from '../../src/simulator/vendors/double.js'
import { VENDOR_SETTINGS } from '../../src/vendors/list.js'
import type { VendorService } from '../../src/vendors/list.js'
import { TranscriptionDouble } from '../../src/vendors/openai/double.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import type { PartName } from '../../src/vendors/vendor.js'

// The doubles of services of a cascade, as their vendors declare them.

/** The key of all services. */
export const KEY = 'sk-service-0123456789abcdef'

type Running = LocalHttpServer<NetServer> & { readonly script: Script }
/** A server of a double, and the settings with its address. */
type Server = readonly [
  double: { start(options: { readonly key: string; readonly script?: Script }): Promise<Running> },
  ...urls: string[],
]

/** Doubles of services at an address of one's own, which no vendor declares. */
const SELF_HOSTED: Readonly<Record<string, Server>> = {
  'stt whisper': [CascadeDouble, 'STT_URL'],
  'stt realtime': [TranscriptionDouble, 'STT_REALTIME_URL'],
  'llm chat': [CascadeDouble, 'LLM_URL'],
  'tts speech': [CascadeDouble, 'TTS_URL'],
}

/** The key in each setting for one. */
export const KEYS = Object.fromEntries(
  Object.keys(VENDOR_SETTINGS).flatMap((name) => {
    const { env, secret } = SETTINGS[name as keyof typeof SETTINGS] as Setting<unknown>
    return secret === true ? [[env, KEY] as const] : []
  }),
)

/** The other parts of a cascade, which no check asks. */
const OTHERS = { STT_URL: 'http://127.0.0.1:8/v1', LLM_URL: 'http://127.0.0.1:8/v1', TTS_URL: 'http://127.0.0.1:8/v1' }

/** Settings of all services with a key, and this address in the setting `url`. */
export function settingsWith(url: string, address: string): CascadeSettings {
  return cascadeSettings(loadConfig({ ...OTHERS, ...KEYS, [url]: address }, null), {})
}

/** The server of a vendor's doubles that is for a service, and the setting that leads there. */
export async function doubleOf(
  part: PartName,
  { name, vendor }: Pick<VendorService, 'name' | 'vendor'>,
): Promise<readonly [Server[0], string]> {
  const declared = Object.entries(vendor.doubles ?? {}).filter(
    ([, facts]) => 'parts' in facts && facts.parts.includes(part.toUpperCase() as Uppercase<PartName>),
  )
  const own = SELF_HOSTED[`${part} ${name}`]
  const servers = own === undefined ? [] : [own]
  if (declared.length > 0) {
    const { doubles } = (await import(`../../src/vendors/${vendor.folder}/double.js`)) as {
      readonly doubles: Readonly<Record<string, readonly Server[]>>
    }
    servers.push(...declared.flatMap(([double]) => doubles[double] ?? []))
  }
  const address = 'http://127.0.0.1:9'
  for (const [double, ...urls] of servers)
    for (const url of urls) {
      const { baseUrl } = (settingsWith(url, address)[part][name] ?? {}) as { readonly baseUrl?: string }
      if (baseUrl?.startsWith(address)) return [double, url]
    }
  throw new Error(`no double of ${vendor.folder} stands in for ${part} ${name}`)
}
