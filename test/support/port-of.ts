import type { Server as HttpServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import type { Test } from 'tap'

/** Has a server listen on 127.0.0.1 until the test ends, which also ends its connections. @returns the port */
export async function portOf(t: Pick<Test, 'teardown'>, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    ;(server as Partial<HttpServer>).closeAllConnections?.()
  })
  return (server.address() as AddressInfo).port
}
