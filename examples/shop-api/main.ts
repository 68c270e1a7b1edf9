import { parseArgs } from 'node:util'
import { startShopApi } from './server.js'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: process.env['SHOP_API_PORT'] ?? '8090' },
    host: { type: 'string', default: '127.0.0.1' },
  },
})

if (!/^\d{1,5}$/.test(values.port) || Number(values.port) > 65_535) {
  console.error(`--port is '${values.port}'; allowed: a number from 0 to 65535`)
  process.exit(2)
}

try {
  const shop = await startShopApi({ port: Number(values.port), host: values.host })
  console.log(`shop API on ${shop.url}`)
  const stop = (): void => {
    void shop.close()
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
} catch (error) {
  const why = error instanceof Error ? error.message : String(error)
  console.error(`the shop API cannot listen on ${values.host}:${values.port}: ${why}`)
  process.exit(2)
}
