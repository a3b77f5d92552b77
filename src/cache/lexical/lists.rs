//! What the rules know of English.

/// Words that carry the grammar of a question, or its politeness, and not its subject.
pub(super) const EMPTY: &[&str] = &[
    "a",
    "able",
    "about",
    "actually",
    "advance",
    "ah",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "anybody",
    "anyone",
    "anything",
    "are",
    "as",
    "ask",
    "at",
    "be",
    "been",
    "being",
    "best",
    "bother",
    "by",
    "can",
    "could",
    "curious",
    "currently",
    "d",
    "did",
    "do",
    "does",
    "doing",
    "done",
    "each",
    "eh",
    "else",
    "er",
    "even",
    "ever",
    "everyone",
    "everything",
    "exactly",
    "find",
    "for",
    "get",
    "getting",
    "go",
    "going",
    "good",
    "got",
    "great",
    "greatest",
    "guess",
    "had",
    "has",
    "have",
    "having",
    "he",
    "hello",
    "help",
    "her",
    "here",
    "hey",
    "hi",
    "him",
    "his",
    "hiya",
    "how",
    "hows",
    "i",
    "id",
    "if",
    "im",
    "in",
    "into",
    "is",
    "it",
    "its",
    "ive",
    "just",
    "kind",
    "kindly",
    "know",
    "lets",
    "like",
    "ll",
    "m",
    "made",
    "main",
    "make",
    "many",
    "may",
    "me",
    "might",
    "much",
    "must",
    "my",
    "need",
    "now",
    "of",
    "oh",
    "ok",
    "okay",
    "on",
    "or",
    "order",
    "our",
    "per",
    "please",
    "possible",
    "quick",
    "quickly",
    "quite",
    "re",
    "really",
    "s",
    "shall",
    "she",
    "should",
    "since",
    "so",
    "some",
    "somebody",
    "someone",
    "something",
    "sorry",
    "sort",
    "still",
    "such",
    "t",
    "take",
    "tell",
    "thank",
    "thanks",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "theres",
    "these",
    "they",
    "theyre",
    "thing",
    "things",
    "this",
    "those",
    "through",
    "to",
    "too",
    "type",
    "types",
    "uh",
    "um",
    "us",
    "usually",
    "various",
    "ve",
    "very",
    "via",
    "want",
    "was",
    "way",
    "ways",
    "we",
    "well",
    "were",
    "what",
    "whats",
    "when",
    "where",
    "wheres",
    "which",
    "who",
    "whom",
    "whos",
    "whose",
    "why",
    "will",
    "wish",
    "wonder",
    "wondering",
    "would",
    "yes",
    "you",
    "your",
    "youre",
];

/// Words that turn a sentence round.
pub(super) const NEGATIVE: &[&str] = &[
    "aint",
    "arent",
    "cannot",
    "cant",
    "couldnt",
    "didnt",
    "doesnt",
    "dont",
    "except",
    "excluding",
    "hadnt",
    "hasnt",
    "havent",
    "isnt",
    "neither",
    "never",
    "no",
    "nobody",
    "non",
    "none",
    "nor",
    "not",
    "nothing",
    "shouldnt",
    "unless",
    "wasnt",
    "werent",
    "without",
    "wont",
    "wouldnt",
];

/// Beginnings that turn a word round.
pub(super) const TURNING: &[&str] =
    &["anti", "de", "dis", "il", "im", "in", "ir", "mis", "non", "un"];

/// Days, months and moments.
pub(super) const CALENDAR: &[&str] = &[
    "am",
    "april",
    "august",
    "autumn",
    "century",
    "daily",
    "december",
    "evening",
    "february",
    "friday",
    "january",
    "july",
    "june",
    "march",
    "may",
    "midnight",
    "monday",
    "monthly",
    "morning",
    "noon",
    "november",
    "october",
    "pm",
    "saturday",
    "september",
    "spring",
    "summer",
    "sunday",
    "thursday",
    "today",
    "tomorrow",
    "tonight",
    "tuesday",
    "wednesday",
    "weekly",
    "winter",
    "yearly",
    "yesterday",
];

/// Numbers as words.
pub(super) fn numbers() -> impl Iterator<Item = (&'static str, u32)> {
    let counted = |list: &'static [&'static str], first: u32| list.iter().copied().zip(first..);
    let tens = counted(TENS, 2).map(|(word, tens)| (word, tens * 10));
    let rest = OTHER_NUMBERS.iter().copied();
    counted(UP_TO_NINETEEN, 0).chain(tens).chain(counted(ORDINALS, 1)).chain(rest)
}

const UP_TO_NINETEEN: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: &[&str] =
    &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

const ORDINALS: &[&str] = &[
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
];

const OTHER_NUMBERS: &[(&str, u32)] = &[
    ("once", 1),
    ("single", 1),
    ("twice", 2),
    ("double", 2),
    ("triple", 3),
    ("hundred", 100),
    ("thousand", 1_000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
];

/// Words in front of where something goes to or comes from, or of what it is compared with.
pub(super) const DIRECTIONS: &[&str] =
    &["from", "into", "onto", "over", "than", "to", "versus", "vs"];

/// Words that may stand for one another in a question, whatever it is about; the first for all.
pub(super) const INTERCHANGEABLE: &str = "
    abroad:overseas answer:reply,respond begin:start,commence big:large,huge buy:purchase
    child:kid,children company:firm,business,corporation
    consequence:effect,impact,implication cost:price,fee,charge doctor:physician enough:sufficient
    error:mistake fast:quick,rapid favorite:favourite film:movie find:locate fix:repair,solve,resolve
    happen:occur happy:glad illness:disease,sickness important:significant,crucial
    information:info intelligent:smart,clever job:occupation laptop:notebook learn:study
    mobile:cell,cellphone mother:mum,mom nation:country often:frequently phone:telephone
    picture:photo,image,photograph,pic position:rank receive:obtain remove:delete,erase
    require:need show:display,demonstrate site:website,webpage spouse:partner stop:quit,cease
    submit:file,lodge think:believe,opinion trip:journey,travel use:utilise,utilize
    vacation:holiday wage:salary,pay wrong:incorrect";

/// Each word with those that exclude it.
pub(super) const OPPOSITES: &str = "
    abroad:home accept:decline,reject,refuse activate:deactivate add:delete,remove,deduct,subtract
    adult:baby,babies,child,children,kid advantage:disadvantage,downside,drawback after:before
    allow:ban,block,forbid,prohibit,deny always:never anode:cathode approve:decline,reject,deny
    archive:unarchive arrive:depart,leave ascending:descending attach:detach attack:defend
    benefit:disadvantage,downside,drawback,risk,harm best:worst better:worse big:small black:white
    bottom:top boy:girl boyfriend:girlfriend brother:sister busy:quiet buy:rent,sell cat:dog
    cause:prevent,cure charge:discharge cheap:expensive child:parent,adult clear:unclear
    close:open closed:open cold:hot common:rare complain:praise connect:disconnect cover:exclude
    create:delete,destroy,remove credit:debit daughter:son day:night dead:alive decrease:increase,raise
    deep:shallow deposit:withdraw,withdrawal difficult:easy dinner:lunch,breakfast breakfast:lunch
    disable:enable discourage:encourage domestic:international down:up downgrade:upgrade
    download:upload dry:wet early:late earliest:latest earn:spend,lose east:west,north,south easy:hard
    eat:avoid employee:employer employed:unemployed empty:full encode:decode encrypt:decrypt
    end:start,begin enemy:friend enrol:withdraw enroll:withdraw enter:exit,leave exclude:include
    excluded:included expand:collapse expense:income export:import external:internal extrovert:introvert
    fail:pass,succeed fall:rise false:true far:near fast:slow fat:thin father:mother female:male
    few:many fewer:more finish:start,begin fire:hire follow:unfollow,lead forget:remember free:paid
    front:rear,back full:part,half future:past gain:lose,loss gay:straight give:receive
    grant:revoke,deny happy:sad,unhappy hard:soft hate:love heavy:light height:weight hide:show,unhide
    high:low higher:lower highest:lowest home:international horizontal:vertical husband:wife in:out
    include:exclude,omit increase:reduce,lower,decrease insert:delete inhale:exhale inside:outside
    install:uninstall internal:external join:leave,quit kitten:puppy landlord:tenant large:small
    larger:smaller largest:smallest last:next,first least:most left:right legal:illegal lend:borrow
    lengthen:shorten less:more like:dislike liquid:solid,gas lock:unlock login:logout long:short
    longer:shorter longest:shortest lose:win,gain,find loss:profit loud:quiet lower:raise man:woman
    major:minor mandatory:optional max:min maximum:minimum men:women merge:split,close mild:spicy
    mount:unmount mute:unmute narrow:wide negative:positive new:old,used newer:older newest:oldest
    north:south offline:online off:on odd:even online:paper,store optimistic:pessimistic
    optional:required over:under own:rent owner:tenant,renter parent:child pause:resume,play
    personal:business,commercial plural:singular poor:rich popular:unpopular possible:impossible
    post:pre predecessor:successor private:public pro:con,free profit:loss pull:push
    quit:start,join raise:reduce receive:send reduce:increase register:unregister resident:visitor
    right:wrong rough:smooth safe:dangerous,unsafe same:different save:spend sender:recipient
    serial:parallel set:unset shallow:deep sick:healthy smart:stupid,dumb start:stop strong:weak
    stronger:weaker subscribe:unsubscribe,cancel success:failure successful:unsuccessful,failed
    synchronous:asynchronous tall:short teacher:student tighten:loosen true:false under:over
    undergraduate:postgraduate,graduate usual:unusual veg:nonveg victory:defeat vegetarian:meat war:peace
    with:without within:after,outside young:old younger:older youngest:oldest";
