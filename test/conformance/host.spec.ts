import { Libp2pLab } from '../support/libp2p-lab.ts'
import { SimLab } from '../support/sim-lab.ts'
import { describeHost } from './host-suite.ts'

describe('the host over libp2p', () => {
  describeHost(() => new Libp2pLab())
})

describe('the host over libp2p, with a secret', () => {
  describeHost(() => new Libp2pLab({ secret: 'correct horse' }))
})

describe('the simulated host', () => {
  describeHost(() => new SimLab())
})
