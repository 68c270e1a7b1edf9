import t from 'tap'
import { serviceContext } from '../../src/backends/cascade/service-context.js'
import { ServiceList } from '../../src/backends/cascade/service-list.js'
import type { ServiceLife } from '../../src/backends/cascade/service.js'
import { vendorFault } from '../../src/backends/transport/vendor-fault.js'

for (const [name, rejects] of [
  ['after', false],
  ['during', true],
] as const)
  t.test(`a field refused ${name} the handshake is left out`, async (t) => {
    const { signal } = new AbortController()
    const told: string[] = []
    const context = serviceContext('test', () => 0, signal, { wishRefused: (field) => told.push(field) })
    const fault = vendorFault('bad_request', 'Invalid session.', true)
    const failed: string[] = []
    const sent: object[] = []
    const list: ServiceList<ServiceLife> = new ServiceList<ServiceLife>(
      [
        {
          service: 'fake',
          model: 'm',
          make: ({ wishes }) => {
            const fields = wishes.of({ keyterm: 'Zawadi' })
            sent.push(fields)
            const service: ServiceLife = {
              open: async () => {
                await Promise.resolve()
                if (fields.keyterm === undefined) return
                t.equal(list.refused(service, fault, true), true)
                if (rejects) throw new Error('closed')
              },
              close: () => undefined,
            }
            return service
          },
        },
      ],
      context,
      signal,
      ({ message }) => failed.push(message),
    )
    const service = await list.open(false)
    t.same(sent, [{ keyterm: 'Zawadi' }, {}])
    t.same(failed, [], 'it is no fault of the service')
    t.equal(list.lacks('keyterm'), false, 'not known before it works')
    list.worked(service, list.asked)
    t.same(told, ['keyterm'])
    t.equal(list.lacks('keyterm'), true)
  })
