"""What the statistics of the graph section begin with: part of the file format.

A stream of symbols without a primer that holds a few common networks. It never changes;
tests/compression/golden/make_primer.py wrote it.
"""

from base64 import b85decode

PRIMER = b85decode(
    b"G=ijPIC7RbZy-H_KWHa^=r$8`8o25dYd}6!z8pPio*LT1e_&i2v}W$b5?WOFh+imLt<&?72K5pA-"
    b"$4n=?HjJ90T0Az@GAq?oIh5C=0zLMj5SwwRqIK7joi^bG=W6_mrDX1Y;Wt0PO>CUvm+2Tm&H#oQ<"
    b"2#;A(2Tyi{*{l=4>wjR51T%8Q#Wx`~B}TWQ8I>i`S+!vsjadY2$Qpb0<KvV==^T1wLXPJHhVXvB@"
    b")#y5+3liq@nN9w*H?josUfM8LRj^T7CM_Qd_}QYePM<?IA9P3nyyq4>>PW;RPDggf$tU_OTPKMkC"
    b"=W9JWC8t{b7IEsTI&F$G^ioL#IEjicuOXmx&WXV63kX#Atc~ZI*ylqG3@~W7f8z<~^qR@Zu|02~X"
    b"=iSl3Av<(YgWlmeKU>F#CUzmA2R9BIJ_|6$F?X`lY3|>9<9B0=f1?pwc%}S0pT)0&i4Gb;2w1?n@"
    b"-kcr9&@E?frT@3Yv(!>3!EaTAUh&#Ht>f71jPT<f9?MuJdRC`)gm6C+5CLM<F8mY1hM__@8-!YI{"
    b"NCr`pAwjZ6q0vCX6DfXr$Fev1sgV1NQ*+7JLby=8>hvxFUJ;a7&kZ-!BvEU!xdn@;8oXZU_p^b>Y"
    b"ggd9g9!PwA0<6rAfBy%$J+q!kfyrJ==79|ZZ_1%MfL-SpK|Q^3JsPrm5lWf#X(uwgW2*}r~7nK(d"
    b"e*}-KS%{I$LJ?$l#VE8Ddt}q#}dOLb_?ic4w^Dk7Eq8bTks%1hAQE=Ey1{^X=ns@h70m82}ROi;x"
    b"KHY!?>W;<y#(^8Tj!M2;&IrUa7EeA+WTW&Hkwr>zSX0heR=y!jm6FOoF~fB8SD}Z2i;)|u69fe_V"
    b"3U!vG=Cri))SBp2kT`Pkk$GEh!L1YhK<kKlViG*=oqp@xfyyMqnM!kWhqW1=X6g|+!{I@S~7;^$@"
    b"OUFM2kT#EEjQhi%`FHJL?ciG(;{|=C4>latyK#5?FKd=++z@;E}`FHAG;*%&#3$kkgGM"
)
