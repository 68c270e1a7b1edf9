import { parseArgs } from 'node:util'
import { DEMO_CODE, orderOf, priceOf, startPayDemo } from './demo.js'
import { startPayApi } from './pay.js'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: process.env['PAY_API_PORT'] ?? '8091' },
    host: { type: 'string', default: '127.0.0.1' },
    'pin-ms': { type: 'string', default: '5000' },
  },
})

for (const [option, max] of [
  ['port', 65_535],
  ['pin-ms', 60_000],
] as const) {
  if (/^\d{1,5}$/.test(values[option]) && Number(values[option]) <= max) continue
  console.error(`--${option} is '${values[option]}'; allowed: a number from 0 to ${max}`)
  process.exit(2)
}

const { env } = process
const address = { port: Number(values.port), host: values.host }
// Replaces your SMS service: the text is only printed in this terminal.
const sms = (phone: string, text: string): void => console.log(`SMS to …${phone.slice(-3)}: ${text}`)
try {
  const pay =
    env['DARAJA_URL'] === undefined
      ? await startPayDemo({ ...address, sms, pinMs: Number(values['pin-ms']) })
      : await startPayApi({
          ...address,
          ...(env['PAY_PUBLIC_URL'] === undefined ? {} : { publicUrl: env['PAY_PUBLIC_URL'] }),
          ...(env['CONTINUE_SECRET'] === undefined ? {} : { continueSecret: env['CONTINUE_SECRET'] }),
          daraja: {
            url: env['DARAJA_URL'],
            key: env['DARAJA_KEY'] ?? '',
            secret: env['DARAJA_SECRET'] ?? '',
            shortCode: env['DARAJA_SHORT_CODE'] ?? '174379',
            passKey: env['DARAJA_PASS_KEY'] ?? '',
          },
          priceOf,
          orderOf,
          sms,
        })
  console.log(
    `pay API on ${pay.url}, ${env['DARAJA_URL'] === undefined ? `with a double of Daraja; each code is ${DEMO_CODE}` : 'with Daraja'}`,
  )
  const stop = (): void => void pay.close()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
} catch (error) {
  const why = error instanceof Error ? error.message : String(error)
  console.error(`the pay API cannot listen on ${values.host}:${values.port}: ${why}`)
  process.exit(2)
}
