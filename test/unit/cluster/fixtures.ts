import type { NewMember } from '../../../src/cluster/commands.ts'
import type { ClusterId, PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { MemberStatus, Row, Topology } from '../../../src/placement/topology.ts'

/** Store id number `n`; ids order as their numbers do. */
export function store(n: number): StoreId {
  return n.toString(16).padStart(2, '0').repeat(16) as StoreId
}

export const CLUSTER = 'c'.repeat(32) as ClusterId

export function member(n: number, more: Partial<NewMember> = {}): NewMember {
  return {
    storeId: store(n),
    peerId: `peer-${n}` as PeerId,
    addresses: [`/ip4/10.0.0.${n}/tcp/7400`],
    weight: 1,
    zone: '',
    region: '',
    volatile: true,
    ...more
  }
}

/** A topology of members 1 … n with all rows alike. */
export function topology(
  members: readonly {
    readonly n: number
    readonly status?: MemberStatus
    readonly zone?: string
    readonly volatile?: boolean
    readonly weight?: number
  }[],
  options: {
    readonly rows?: readonly Row[]
    readonly slots?: readonly number[]
    readonly replicas?: number
    readonly epoch?: number
  } = {}
): Topology {
  const slots = (options.slots ?? members.slice(0, 3).map(({ n }) => n)).map(store)
  const row: Row = { slots, change: undefined, rowEpoch: 1 }
  return {
    clusterId: CLUSTER,
    name: 'test',
    epoch: options.epoch ?? 10,
    replicas: options.replicas ?? 3,
    members: new Map(
      members.map(({ n, status = 'up', zone = '', volatile = true, weight = 1 }) => [
        store(n),
        { ...member(n, { zone, volatile, weight }), status, joinedEpoch: n }
      ])
    ),
    rows: options.rows ?? Array.from({ length: 64 }, () => row)
  }
}
