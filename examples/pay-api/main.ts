import { parseArgs } from 'node:util'
import { startDarajaDouble } from './daraja-double.js'
import { orderOf, payerOf, priceOf } from './demo.js'
import { startPayApi } from './pay.js'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: process.env['PAY_API_PORT'] ?? '8091' },
    host: { type: 'string', default: '127.0.0.1' },
  },
})

if (!/^\d{1,5}$/.test(values.port) || Number(values.port) > 65_535) {
  console.error(`--port is '${values.port}'; allowed: a number from 0 to 65535`)
  process.exit(2)
}

const { env } = process
const double = env['DARAJA_URL'] === undefined ? await startDarajaDouble({ payer: payerOf, pinMs: 5000 }) : null
try {
  const pay = await startPayApi({
    port: Number(values.port),
    host: values.host,
    ...(env['PAY_PUBLIC_URL'] === undefined ? {} : { publicUrl: env['PAY_PUBLIC_URL'] }),
    ...(env['CONTINUE_SECRET'] === undefined ? {} : { continueSecret: env['CONTINUE_SECRET'] }),
    daraja: {
      url: double?.url ?? env['DARAJA_URL'] ?? '',
      key: env['DARAJA_KEY'] ?? '',
      secret: env['DARAJA_SECRET'] ?? '',
      shortCode: env['DARAJA_SHORT_CODE'] ?? '174379',
      passKey: env['DARAJA_PASS_KEY'] ?? '',
    },
    priceOf,
    orderOf,
    // In place of your SMS service: only this terminal sees the code.
    sms: (phone, text) => console.log(`SMS to …${phone.slice(-3)}: ${text}`),
  })
  console.log(`pay API on ${pay.url}, ${double === null ? 'with Daraja' : 'with a double of Daraja'}`)
  const stop = (): void => void Promise.all([pay.close(), double?.close()])
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
} catch (error) {
  const why = error instanceof Error ? error.message : String(error)
  console.error(`the pay API cannot listen on ${values.host}:${values.port}: ${why}`)
  process.exit(2)
}
