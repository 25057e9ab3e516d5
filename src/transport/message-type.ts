/**
 * Every type of message there is, in one table, so that none is used twice. A released number never changes its
 * meaning. Requests are answered by `REPLY`; one-way messages are marked so.
 */
export const MessageType = {
  /** Answer to the request with the same id. */
  REPLY: 0,
  /** First message on every link, both ways: who is this. */
  HELLO: 1,
  /** A gossip message relayed outside the pub/sub mesh. One-way. */
  GOSSIP: 2,
  /** First in a frame: the cluster whose epochs and requests are in it. One-way. */
  BELONG: 3,

  /** Direct probe of the failure detector. */
  PING: 8,
  /** Please probe a third node for me. */
  PING_REQUEST: 9,
  /** Full exchange of membership views. */
  VIEW: 10,

  /** A message of a consensus group. One-way. */
  RAFT: 16,

  /** Ask to become a member. */
  JOIN: 24,
  /** Topology commands after an epoch. */
  META_DELTA: 25,
  /** Forward a command to the leader of the meta group. */
  META_PROPOSE: 26,
  /** What is known of founding: who is provisional, who is a member. */
  FOUNDING: 27,
  /** A cluster that was founded apart asks to be taken in. */
  MERGE: 28,
  /** What has become of this cluster? */
  FATE: 29,

  /** Store a record. */
  PUT: 32,
  /** Read a record. */
  GET: 33,
  /** Several reads at once. */
  GETS: 34,
  /** Several writes at once. */
  PUTS: 35,
  /** The next page of some partitions' records, in the order of their keys. */
  SCAN: 36,
  /** Add a sibling to what you hold of a key, under a dot of yours. */
  MINT: 37,
  /** The next entries of an index that are of some partitions. */
  INDEX: 38,
  /** Next page of a partition's records, for its new owner. */
  COPY: 40,
  /** What has arrived since? */
  WATCH: 44,
  /** What is there that I may have missed? */
  REWIND: 45,

  /** Which of these partitions' hash trees differ from yours? */
  ROOTS: 48,
  /** Which leaves of this hash tree differ from yours? */
  LEAVES: 49,
  /** What do you hold under these leaves? */
  KEYS: 50,
  /** Take nothing new below this stamp any more. */
  CLOSE: 51,
  /** Have all that was stored before on your medium. */
  SEAL: 52,
  /** The past is settled up to this stamp. */
  HORIZON: 53
} as const

/** A number of {@link MessageType}. */
export type MessageType = (typeof MessageType)[keyof typeof MessageType]

/** Bytes of a cluster's id that stand for it in each frame. */
export const TAG_BYTES = 8

/** Whether messages of a type are meant for the sender's own cluster alone; the others say themselves for which they are. */
export function isOfOneCluster(type: number): boolean {
  return type === MessageType.RAFT || type >= MessageType.PUT
}
