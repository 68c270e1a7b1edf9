import type { Server as HttpServer } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import type { Test } from 'tap'

/**
 * Makes a server listen on 127.0.0.1 until the test ends; its connections are then closed too.
 *
 * @param port default: a port that the system assigns. A server that stops and comes back needs a port of `freePort`:
 * the system may assign its own port to another program in between
 * @returns the port
 */
export async function portOf(t: Pick<Test, 'teardown'>, server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  t.teardown(() => {
    server.close()
    ;(server as Partial<HttpServer>).closeAllConnections?.()
  })
  return (server.address() as AddressInfo).port
}
