import { Libp2pLab } from '../support/libp2p-lab.ts'
import { SimLab } from '../support/sim-lab.ts'
import { describeTransport } from './transport-suite.ts'

describe('the mesh over libp2p', () => {
  describeTransport(() => new Libp2pLab())
})

describe('the mesh over the simulated host', () => {
  describeTransport(() => new SimLab())
})
