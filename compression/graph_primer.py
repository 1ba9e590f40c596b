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
    b"=W9JWC8t{b7IEsTI&F$G^ioL#IEjicuOXmx&WXV63kX#Atc~ZI*ylqQ!iaQ>0LIQ?*Cq5B{{{Kwj"
    b"WaQ7@p0dP}Hgy#+D{@YuuZq0ZpYBuZ%sJgpDw&UJ?FU`XXJIS{X*|~AgRS-?qtm76RQ<3jNmB5;M"
    b"Bi^BBn~Yq3<c_HcfsF1mC>QOk-`4=PM9=(|4-0o21cw=fUry0ikfQbH4`IOE*I5XI^Jiqgf^ToaP"
    b"mtJ&na7b4z_*GlBqhzrk=NJ=K{fT=E?`x7(A^&)7WSHFS2mNCgEsT&B3+_Pi2!eFTW@rf5+i7`ni"
    b"F!Z!(No4h<lS#E(@KL4m&i8g4`YvKAQ(5=jq-lU;Lt%GAA6x)4V5Kd3;zq$B^8zSu2N*stF+Pp7="
    b"pd}SrcND;VvU|3o6w3vksOBA-?kak=*%GH^|I<_^L>~vzY%Z=mdDSc7wMcA!52^>L0eujaZvN1fR"
    b"y@4r13kvGN=o`4jx4s&X=Z0V4*D1kvNS~W{CWAN1Vm8sC7U-=!ap5guj9eJXPho2Z?~|BANOib$0"
    b"q?BF8>(8QTnI)ZwNi8SJXH5uptb9H0TnTST<BmBROyun-F;UKw0ozZ%h56wRdEk8q@UquGsQ$9bG"
    b")Iw$I)XW+FUM|hUdxpmw~n8`*}46MBD1}2HS@;5-`<Z_`3)cm1B-PV%y((M1$tMgwXT6)c"
)
