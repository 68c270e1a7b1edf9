import t from 'tap'
import type { CascadeOwn } from '../../src/backends/cascade/service-facts.js'
import { factoriesOf, loadVendors } from '../../src/backends/cascade/services.js'
import type { ServiceFactory } from '../../src/backends/cascade/service.js'
import { LLM_CHECKS, STT_CHECKS, TTS_CHECKS } from '../../src/backends/conformance.js'
import type { ServiceSetup } from '../../src/backends/conformance.js'
import { SocketDouble } from '../../src/simulator/vendors/double.js'
import { SERVICES } from '../../src/vendors/list.js'
import type { VendorService } from '../../src/vendors/list.js'
import { PARTS } from '../../src/vendors/vendor.js'
import type { PartName } from '../../src/vendors/vendor.js'
import { doubleOf, KEY, settingsWith } from './service-doubles.js'

// Every service of every vendor passes the checks of its part, on the double that its vendor declares. A service of a new
// vendor is among them without a line here.

/** An agent's options of a service that has other wires too. */
const OTHER_WIRES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'stt deepgram': { model: 'flux-general-en' },
  'stt realtime': { dialect: 'vllm' },
}

/** A service of a gateway with these options in the agent's file, on its double; only one with a connection can lose it. */
const on =
  <Made>(part: PartName, service: VendorService, options: object) =>
  async (): Promise<ServiceSetup<Made>> => {
    const [double, url] = await doubleOf(part, service)
    const running = await double.start({ key: KEY })
    const settings = settingsWith(url, running.baseUrl)
    const entry = { service: service.name, ...options }
    const agent = { stt: 'whisper', llm: 'chat', tts: 'speech', [part]: entry } as CascadeOwn
    await loadVendors(settings, agent)
    return {
      factory: factoriesOf(settings, agent)[part][0] as unknown as ServiceFactory<Made>,
      callerSays: (...texts) => running.script.callerSays(...texts),
      reply: (...replies) => running.script.reply(...replies),
      breakOff: () => {
        if (!(running instanceof SocketDouble) && service.grpc !== true) return false
        running.breakOff()
        return true
      },
      secret: KEY,
      close: () => running.close(),
    }
  }

const CHECKS = { stt: STT_CHECKS, llm: LLM_CHECKS, tts: TTS_CHECKS }
for (const part of PARTS)
  for (const service of SERVICES[part].values()) {
    const other = OTHER_WIRES[`${part} ${service.name}`]
    for (const options of other === undefined ? [{}] : [{}, other])
      for (const check of CHECKS[part])
        t.test(`${part} ${[service.name, ...Object.values<string>(options)].join(' ')} ${check.name}`, async () =>
          check.run(on<never>(part, service, options)),
        )
  }
