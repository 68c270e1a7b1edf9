import { SOCKET_OR_HTTP, apiKey, optional } from '../../core/setting.js'
import { model } from '../common-options.js'
import { keyed, vendor } from '../vendor.js'

export const toyRecogniser = vendor({
  folder: 'toy-recogniser',
  title: 'Toy Recogniser',
  settings: {
    toyRecogniserKey: optional({
      kind: apiKey,
      help: 'The API key for Toy Recogniser, a recogniser of the backend cascade.',
    }),
    toyRecogniserUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: "The address of Toy Recogniser's service. When unset, it is the public one.",
    }),
  },
  services: {
    stt: {
      'toy-recogniser': {
        about: 'a stream: words while the caller speaks',
        changes: 'changes nothing',
        needs: 'TOY_RECOGNISER_KEY',
        lacks: 'does not report the language of the caller',
        own: { baseUrl: 'wss://recogniser.toy.example', model: 'toy-words-1' },
        options: { model },
        settings: ({ toyRecogniserKey, toyRecogniserUrl }) => keyed(toyRecogniserKey, toyRecogniserUrl),
      },
    },
  },
  doubles: {
    'toy-recogniser': {
      what: 'the recogniser of Toy Recogniser',
      port: 7901,
      key: 'TOY_RECOGNISER_KEY',
      parts: ['STT'],
    },
  },
})
