import { SOCKET_OR_HTTP, optional } from '../../core/setting.js'
import { atAddress, vendor } from '../vendor.js'

export const ownRecognisers = vendor({
  folder: 'own-recognisers',
  title: "recognisers of one's own",
  settings: {
    voskUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: 'The address of a vosk-server, a recogniser of the backend cascade.',
    }),
    sherpaUrl: optional({
      kind: SOCKET_OR_HTTP,
      help: 'The address of the online WebSocket server of sherpa-onnx, a recogniser of the backend cascade.',
    }),
  },
  services: {
    stt: {
      vosk: {
        needs: 'VOSK_URL',
        lacks: 'does not tell which language the caller speaks, and takes no terms',
        // The server recognises with the model that it was started with; this is its name in prices.
        own: { model: 'vosk' },
        options: [],
        settings: ({ voskUrl }) => atAddress(voskUrl),
      },
      sherpa: {
        needs: 'SHERPA_URL',
        lacks: 'does not tell which language the caller speaks, and takes no terms',
        own: { model: 'sherpa-onnx' },
        options: [],
        settings: ({ sherpaUrl }) => atAddress(sherpaUrl),
      },
    },
  },
  doubles: {
    vosk: { what: 'vosk-server, a recogniser', port: 7741, parts: ['STT'] },
    sherpa: { what: 'the online WebSocket server of sherpa-onnx, a recogniser', port: 7751, parts: ['STT'] },
  },
})
