import type { CaretakerOptions } from '../../../src/cluster/caretaker.ts'
import type { Command, NewMember } from '../../../src/cluster/commands.ts'
import type { ClusterId, PeerId, StoreId } from '../../../src/model/node-id.ts'
import type { ViewMember } from '../../../src/model/view.ts'
import type { MemberStatus, Row, Topology } from '../../../src/placement/topology.ts'

/** Store id number `n`; ids order as their numbers do. */
export function store(n: number): StoreId {
  return n.toString(16).padStart(2, '0').repeat(16) as StoreId
}

/** Number of a store; what {@link store} takes. */
export function storeNumber(id: StoreId): number {
  return Number.parseInt(id.slice(0, 2), 16)
}

/** Where store number `n` is reached. */
export function peer(n: number): PeerId {
  return `peer-${n}` as PeerId
}

/** Number of the store that is reached there. */
export function peerNumber(id: PeerId): number {
  return Number(id.slice('peer-'.length))
}

export const CLUSTER = 'c'.repeat(32) as ClusterId

export function member(n: number, more: Partial<NewMember> = {}): NewMember {
  return {
    storeId: store(n),
    peerId: peer(n),
    addresses: [`/ip4/10.0.0.${n}/tcp/7400`],
    weight: 1,
    zone: '',
    region: '',
    volatile: true,
    ...more
  }
}

/** A member as another node sees it: alive, and in no cluster. */
export function seen(n: number, more: Partial<ViewMember> = {}): ViewMember {
  const { storeId, peerId, addresses } = member(n)
  return { storeId, peerId, addresses, incarnation: 1, status: 'alive', clusterId: undefined, epoch: 1, ...more }
}

type Found = Extract<Command, { readonly kind: 'found' }>

/** What founds a cluster, of store 1. */
export function found(more: Partial<Found> = {}): Found {
  return {
    kind: 'found',
    clusterId: CLUSTER,
    name: 'test',
    partitions: 64,
    replicas: 3,
    foundedMs: 1,
    member: member(1),
    ...more
  }
}

/** How a leader looks after its cluster: as it does by default, but without waiting for anybody to warm up. */
export const CARE: CaretakerOptions = {
  evictVolatileAfterMs: 15_000,
  evictDiskAfterMs: 300_000,
  warmUpMs: 0,
  gcGraceMs: 86_400_000
}

/** Members 1 … n of a topology. */
export function numbers(n: number): { readonly n: number }[] {
  return Array.from({ length: n }, (_, i) => ({ n: i + 1 }))
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
